"""Makes the TLS contexts of DICOM connections from the settings' PEM files."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from service.errors import SettingInvalid
from service.pacs_settings import PacsSettings

T = TypeVar("T")
HANDSHAKE_S = 10
"""Seconds for each step of a caller's handshake. pynetdicom takes nobody else in meanwhile."""
STALL_S = 60
"""Seconds for which a caller may be silent within a message."""


def client_tls(settings: PacsSettings) -> ssl.SSLContext | None:
    """Returns the context for calling a node; None where no authority is set, so without TLS.

    Raises SettingInvalid for a file that cannot be read.
    """
    if settings.pacs_ca is None:
        return None
    context = _read(
        "ECLIP_PACS_CA", lambda: ssl.create_default_context(cafile=str(settings.pacs_ca))
    )
    _show(
        context, "ECLIP_PACS_CERTIFICATE", settings.pacs_certificate, settings.pacs_certificate_key
    )
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
    if certificate is not None:
        _read(f"{name} or {name}_KEY", lambda: context.load_cert_chain(certificate, key))


def _read(name: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except OSError as error:  # ssl.SSLError is one
        raise SettingInvalid(
            f"The file of {name} cannot be read as PEM. Check its path, its permissions and that "
            "certificate and key belong together."
        ) from error
