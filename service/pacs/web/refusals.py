"""Says what to correct when a DICOMweb service refuses: a setting, the address, or the service."""

import ssl
from enum import Enum

from service.errors import EclipError, PeerRefused, PeerUnavailable
from service.pacs_settings import PacsSettings


class Credentials(Enum):
    """What a service is shown. The value names its settings."""

    TOKEN = "ECLIP_PACS_TOKEN"  # noqa: S105 — the name of a setting
    PASSWORD = "ECLIP_PACS_USER and ECLIP_PACS_PASSWORD"  # noqa: S105
    CERTIFICATE = "ECLIP_PACS_CERTIFICATE"
    NONE = "ECLIP_PACS_TOKEN, or ECLIP_PACS_USER and ECLIP_PACS_PASSWORD"

    @classmethod
    def of(cls, settings: PacsSettings) -> "Credentials":
        """Returns what these settings show."""
        if settings.pacs_token is not None:
            return cls.TOKEN
        if settings.pacs_user is not None:
            return cls.PASSWORD
        return cls.CERTIFICATE if settings.pacs_certificate is not None else cls.NONE


def refusal(status: int, credentials: Credentials) -> EclipError:
    """Returns the error for an HTTP status that is no success."""
    says = f"The DICOMweb service answers with HTTP status {status}"
    if status in (401, 403, 407):
        return _unauthorised(status, credentials)
    if status in (404, 410):
        return PeerRefused(
            f"{says}: it has no such object, or it is not at this address. Write the base address "
            "under which it has /studies."
        )
    if 300 <= status < 400:
        return PeerRefused(
            f"{says}, a redirect. None is followed, because credentials could go astray. Write "
            "the address to which it leads."
        )
    if status == 507:
        return PeerUnavailable(f"{says}: its disk is full. Make room there.")
    if status >= 500 and status != 501:
        return PeerUnavailable(f"{says}: it failed. Look into its log, and try again later.")
    return PeerRefused(f"{says}: it refuses the request. Look into its log.")


def _unauthorised(status: int, credentials: Credentials) -> PeerRefused:
    if credentials is Credentials.NONE:
        return PeerRefused(
            f"The DICOMweb service asks for credentials (HTTP status {status}). "
            f"Set {credentials.value}."
        )
    wrong = "does not accept" if status == 401 else "does not allow this with"
    return PeerRefused(
        f"The DICOMweb service {wrong} the credentials of {credentials.value} (HTTP status "
        f"{status}). Correct them, or give them the right there."
    )


def tls_refusal(error: ssl.SSLError) -> PeerRefused | None:
    """Returns the error for a failure of TLS that would repeat; None for a lost connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return PeerRefused(
            "The certificate of the DICOMweb service is not accepted: "
            f"{error.verify_message.partition(',')[0].lower()}. Set ECLIP_PACS_CA to the authority "
            "that issued it, and write the host name that it is for."
        )
    reason = error.reason or ""
    if "ALERT" in reason:
        return PeerRefused(
            "The DICOMweb service refuses the TLS connection. It may ask for a client "
            "certificate: set ECLIP_PACS_CERTIFICATE and ECLIP_PACS_CERTIFICATE_KEY to one that it "
            "accepts."
        )
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return PeerRefused(
            "The DICOMweb service does not speak TLS at this port. Write dicomweb+http:// if it is "
            "meant to be asked in plain text, or its TLS port."
        )
    return None
