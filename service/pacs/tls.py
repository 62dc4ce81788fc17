"""Makes TLS contexts from the settings' PEM files, for a PACS and a FHIR server."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from service.errors import SettingInvalid
from service.pacs_settings import PacsSettings

T = TypeVar("T")
HANDSHAKE_S = 10
"""Seconds for each step of a caller's handshake. pynetdicom takes nobody else in meanwhile."""
STALL_S = 60
"""Seconds for which a caller may be silent within a message."""


def trusting(authorities: Path | None) -> ssl.SSLContext:
    """Returns a context that checks servers by these authorities (ECLIP_PACS_CA).

    None: by the public ones. Raises SettingInvalid for a file that cannot be read.
    """
    if authorities is None:
        return httpx2.create_ssl_context(trust_env=False)
    return _read("ECLIP_PACS_CA", lambda: ssl.create_default_context(cafile=authorities))


def client_tls(settings: PacsSettings) -> ssl.SSLContext:
    """Returns how a server's certificate is checked, and which one it is shown.

    Raises SettingInvalid for a file that cannot be read.
    """
    context = trusting(settings.pacs_ca)
    certificate, key = settings.pacs_certificate, settings.pacs_certificate_key
    if certificate is None and key is not None:
        raise SettingInvalid("ECLIP_PACS_CERTIFICATE_KEY is set without ECLIP_PACS_CERTIFICATE.")
    _show(context, "ECLIP_PACS_CERTIFICATE", certificate, key)
    return context


def server_tls(settings: PacsSettings) -> ssl.SSLContext | None:
    """Returns the context for being called; None where no certificate is set, so without TLS.

    With `listen_ca`, a caller must show a certificate. Raises SettingInvalid for a file that cannot
    be read.
    """
    if settings.listen_certificate is None:
        return None
    context = _read("ECLIP_LISTEN_CA", lambda: _ServerContext(ssl.PROTOCOL_TLS_SERVER))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.listen_ca is not None:
        authorities = str(settings.listen_ca)
        _read("ECLIP_LISTEN_CA", lambda: context.load_verify_locations(cafile=authorities))
        context.verify_mode = ssl.CERT_REQUIRED
    _show(
        context,
        "ECLIP_LISTEN_CERTIFICATE",
        settings.listen_certificate,
        settings.listen_certificate_key,
    )
    return context


class _ServerContext(ssl.SSLContext):
    """Bounds each step of a handshake: pynetdicom does it in the thread that accepts callers."""

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(HANDSHAKE_S)
        wrapped = super().wrap_socket(sock, *args, **options)
        wrapped.settimeout(STALL_S)
        return wrapped


def _show(context: ssl.SSLContext, name: str, certificate: Path | None, key: Path | None) -> None:
    if certificate is None:
        return
    names = f"{name} and {name}_KEY" if key else name
    try:
        _read(names, lambda: context.load_cert_chain(certificate, key, password=_no_password))
    except _Encrypted:
        raise SettingInvalid(
            f"The private key of {name}_KEY is encrypted. Store it without a passphrase, in a file "
            "that this program alone may read."
        ) from None


class _Encrypted(Exception):
    """A private key needs a passphrase."""


def _no_password() -> str:
    """Raises, where OpenSSL would ask for a passphrase at the terminal."""
    raise _Encrypted


def _read(names: str, load: Callable[[], T]) -> T:
    """Returns what is loaded. The error for files names settings, not files."""
    try:
        return load()
    except ssl.SSLError:
        raise SettingInvalid(f"{names} must name PEM files that belong together.") from None
    except OSError as error:
        raise SettingInvalid(f"The file of {names} cannot be read: {error.strerror}.") from None
