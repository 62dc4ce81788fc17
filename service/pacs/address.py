"""Reads the address of a PACS: of its DICOMweb service, or of its DICOM node."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.errors import SettingInvalid

_WEB = "dicomweb+"
_AE = re.compile(r"[ -\[\]-~]{1,16}")
_EXAMPLES = "dicomweb+https://host/dicom-web or dimse://AET@host:port"


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Base address of a DICOMweb service, without a slash at its end."""

    url: str


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A DICOM node: its AE title, host and TCP port."""

    ae_title: str
    host: str
    port: int


Address = WebAddress | NodeAddress


def is_address(text: str) -> bool:
    """Decides whether the text is meant as an address, and not as a path."""
    return "://" in text


def parse_address(text: str) -> Address:
    """Returns the address. Raises SettingInvalid, without quoting what may be a password."""
    scheme, _, _ = text.partition("://")
    try:
        parts = urlsplit(text.removeprefix(_WEB))
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = None, None
    if host and text.startswith(_WEB) and scheme.lower() in ("dicomweb+http", "dicomweb+https"):
        if parts.username is not None or parts.query or parts.fragment:
            raise _wrong("It must not hold a user, a query or a fragment")
        return WebAddress(text.removeprefix(_WEB).rstrip("/"))
    title = text.removeprefix("dimse://").rpartition("@")[0]
    if host and port and scheme == "dimse" and _AE.fullmatch(title) and not parts.path.strip("/"):
        return NodeAddress(title, host, port)
    raise _wrong("It is not complete")


def _wrong(why: str) -> SettingInvalid:
    return SettingInvalid(f"Wrong address of a PACS. {why}. Write {_EXAMPLES}.")
