"""Says whether the settings of receiving fit together, and opens it where they want any.

What talks DICOM is imported on use: it takes longer to load than most commands run.
"""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.api.context import Services
from service.errors import SettingInvalid
from service.pacs.address import parse_address
from service.pacs.desk.rules import read_rules
from service.settings import Settings
from service.telemetry import log

DEFAULT_PORT = 11112
"""TCP port of `eclip listen`: the one that IANA registered for DICOM."""
_PAIRS = (
    ("listen_certificate", "listen_certificate_key"),
    ("pacs_certificate", "pacs_certificate_key"),
    ("pacs_user", "pacs_password"),
)
"""Settings of which neither works without the other."""
_FILES = (
    "listen_certificate", "listen_certificate_key", "listen_ca", "pacs_certificate",
    "pacs_certificate_key", "pacs_ca", "rules", "spool_key_file",
)  # fmt: skip


def check_listening(settings: Settings) -> None:
    """Raises SettingInvalid for settings of the PACS that contradict each other or name no file."""
    if settings.listen_port is None:
        for name in ("results_to", "fhir_url", "rules"):
            if getattr(settings, name) is not None:
                raise SettingInvalid(
                    f"ECLIP_{name.upper()} is set, and nothing is received. Set ECLIP_LISTEN_PORT, "
                    "run `eclip listen`, or unset it."
                )
        return
    for one, other in _PAIRS:
        if (getattr(settings, one) is None) != (getattr(settings, other) is None):
            raise SettingInvalid(
                f"ECLIP_{one.upper()} and ECLIP_{other.upper()} need each other. Set both, or none."
            )
    if settings.listen_ca is not None and settings.listen_certificate is None:
        raise SettingInvalid(
            "ECLIP_LISTEN_CA checks callers of TLS. Set ECLIP_LISTEN_CERTIFICATE too, or unset it."
        )
    for name in _FILES:
        path: Path | None = getattr(settings, name)
        if path is not None and not path.is_file():
            raise SettingInvalid(f"ECLIP_{name.upper()} names no file. Correct its path.")
    if settings.results_to is not None:
        parse_address(settings.results_to)
    read_rules(settings.rules)
    if not _is_closed(settings):
        log().warning("anyone who reaches the DICOM port may send radiographs")


@contextmanager
def listening(opened: Services) -> Iterator[Services]:
    """Gives the services with all that receives, where the settings have a port for it.

    Raises SettingInvalid or StoreUnavailable.
    """
    if opened.settings.listen_port is None:
        yield opened
        return
    from service.pacs_wiring import receiving

    with receiving(opened) as wired:
        yield wired


def _is_closed(settings: Settings) -> bool:
    """Decides whether the DICOM port is this machine's own, or asks callers who they are."""
    if settings.listen_ca is not None or settings.listen_callers:
        return True
    try:
        return ipaddress.ip_address(settings.listen_host).is_loopback
    except ValueError:
        return settings.listen_host == "localhost"
