"""Holds the settings of everything that talks to a PACS or a FHIR server (ECLIP_*)."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, HttpUrl, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

AeTitle = Annotated[str, Field(pattern=r"^[ -\[\]-~]{1,16}$")]
"""Name of a DICOM node: 1 to 16 printable characters, no backslash (PS3.5 6.2, AE)."""


class PacsSettings(BaseSettings):
    """The choices of a deployment for its PACS. `service.settings.Settings` has them all.

    The field docstrings are the text of docs/settings.md (`make pages`).
    """

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    ae_title: AeTitle = "ECLIP"
    """Name (AE title) under which this program calls a PACS and is called by it."""
    pacs_token: SecretStr | None = None
    """Bearer token for DICOMweb, to read from an archive and to send results."""
    pacs_user: str | None = None
    """User name for DICOMweb (HTTP basic authentication)."""
    pacs_password: SecretStr | None = None
    """Password of that user."""
    pacs_certificate: Path | None = None
    """PEM file of this program's own certificate, shown to a DICOMweb server or a DICOM node that
    asks for one."""
    pacs_certificate_key: Path | None = None
    """PEM file of the certificate's private key."""
    pacs_ca: Path | None = None
    """PEM file of the authorities that a server's certificate is checked by, instead of the
    public ones. A DICOM node is called over TLS if this is set."""

    listen_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """TCP port on which radiographs are received by C-STORE. Unset: none are."""
    listen_host: str = "127.0.0.1"
    """Address on which radiographs are received by C-STORE."""
    listen_certificate: Path | None = None
    """PEM file of the receiver's certificate. Set, it takes TLS connections only."""
    listen_certificate_key: Path | None = None
    """PEM file of that certificate's private key."""
    listen_ca: Path | None = None
    """PEM file of the authorities by which callers' certificates are checked. Set, a caller without
    a certificate is refused."""
    listen_callers: tuple[AeTitle, ...] = ()
    """JSON list of the AE titles that may send. Empty: any may."""
    listen_at_once: PositiveInt = 16
    """Associations at a time. One more is refused for a while."""
    rules: Path | None = None
    """CSV file of rules: which radiographs get a report (docs/pacs.md). Unset: chests, and those
    that name no body part."""
    quiet_s: PositiveFloat = 30
    """Seconds without a new object after which a received study counts as complete."""
    spool_bytes: PositiveInt = 4 * 2**30
    """Bytes of received objects and unsent results that may wait on the disk, encrypted. Beyond
    them associations are refused for a while."""
    spool_key_file: Path | None = None
    """File of the key that encrypts them: 64 hexadecimal digits. Keep it on another disk, or in
    memory. Unset: `spool.key` in `ECLIP_DATA_DIR`, made at the first start."""
    results_to: str | None = None
    """Where draft reports go as DICOM: `dicomweb+https://host/dicom-web` or
    `dimse://AET@host:port`. Unset: they are written to the audit log alone."""
    results_wait_s: NonNegativeInt = 86400
    """Seconds for which a result is sent again to a PACS or FHIR server that does not take it."""
    fhir_url: HttpUrl | None = None
    """Base address of a FHIR R4 server to which draft reports go as well. Unset: to none."""
    fhir_token: SecretStr | None = None
    """Bearer token for that server."""
