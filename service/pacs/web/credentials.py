"""Reads from the settings what a DICOMweb service is shown, and whose certificates are trusted."""

import ssl
from base64 import b64encode
from pathlib import Path

import httpx2

from service.errors import SettingInvalid
from service.pacs_settings import PacsSettings


def authorization(settings: PacsSettings) -> str | None:
    """Returns the Authorization header, or None. Raises SettingInvalid."""
    token, password = settings.pacs_token, settings.pacs_password
    if (settings.pacs_user is None) != (password is None):
        raise SettingInvalid("Set ECLIP_PACS_USER and ECLIP_PACS_PASSWORD together.")
    if token is not None and password is not None:
        raise SettingInvalid(
            "Both ECLIP_PACS_TOKEN and ECLIP_PACS_USER are set. A request can carry one of them: "
            "unset the other."
        )
    if password is not None:
        secret = password.get_secret_value().rstrip("\r\n")  # files of secrets end with a line
        pair = f"{settings.pacs_user}:{secret}".encode()
        return f"Basic {b64encode(pair).decode()}"
    if token is None:
        return None
    plain = token.get_secret_value().strip()
    if not plain or not plain.isascii() or not plain.isprintable():
        raise SettingInvalid("ECLIP_PACS_TOKEN must be one line of plain ASCII characters.")
    return f"Bearer {plain}"


def tls_context(settings: PacsSettings) -> ssl.SSLContext:
    """Returns how a server's certificate is checked, and which one it is shown.

    Raises SettingInvalid for a file that cannot be read.
    """
    authorities = settings.pacs_ca
    if authorities is None:
        context = httpx2.create_ssl_context(trust_env=False)
    else:
        try:
            context = ssl.create_default_context(cafile=authorities)
        except OSError as error:
            raise _unreadable("ECLIP_PACS_CA", error) from None
    certificate, key = settings.pacs_certificate, settings.pacs_certificate_key
    if certificate is not None:
        _show(context, certificate, key)
    elif key is not None:
        raise SettingInvalid("ECLIP_PACS_CERTIFICATE_KEY is set without ECLIP_PACS_CERTIFICATE.")
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    names = "ECLIP_PACS_CERTIFICATE" + (" and ECLIP_PACS_CERTIFICATE_KEY" if key else "")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Encrypted:
        raise SettingInvalid(
            "The private key of ECLIP_PACS_CERTIFICATE_KEY is encrypted. Store it without a "
            "passphrase, in a file that this program alone may read."
        ) from None
    except OSError as error:
        raise _unreadable(names, error) from None


class _Encrypted(Exception):
    """A private key needs a passphrase."""


def _no_password() -> str:
    """Raises, where OpenSSL would ask for a passphrase at the terminal."""
    raise _Encrypted


def _unreadable(names: str, error: OSError) -> SettingInvalid:
    """Returns the error for files. It names settings, not files."""
    if isinstance(error, ssl.SSLError):
        return SettingInvalid(f"{names} must name PEM files that belong together.")
    return SettingInvalid(f"The file of {names} cannot be read: {error.strerror}.")
