"""Says what each file of a folder or a tar is, by its name and its first bytes.

A name is divided at the last dot before a known suffix: `1.2.840.7.dcm` is `1.2.840.7`, and
`ward.1.png` is `ward.1`. DICOM files are known by their bytes, whatever their names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from service.imaging.dicom.header import looks_like_dicom
from service.imaging.dicom.identifiers import Belonging, belonging
from service.studies.own_drafts import MANUFACTURER

IMAGES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg"})
"""Suffixes of the files that hold radiographs."""
TEXT, RECORD = ".txt", ".json"
HIDDEN = "hidden files"
NO_IMAGE = "DICOM objects without an image"
OTHERS = "objects that are neither a radiograph nor a report"
OWN = "objects that this program made"
LONE_REPORT = "structured reports of studies without an image"
LONE = "texts without an image of their name"
OTHER = "files of other kinds"
HEATMAPS = "heatmaps"
_HEATMAP = ".heatmap"
_SYSTEM = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
HEAD = 132
"""Bytes that show whether a file is DICOM: the preamble and `DICM`."""
Kind = Literal["image", "heatmap", "text", "record", "structured report"]


@dataclass(frozen=True, slots=True)
class File:
    """A file that belongs to a study. `stem` is its name without a known suffix."""

    name: str
    stem: str
    kind: Kind
    header: Belonging = Belonging(None, None)


def file_of(name: str, read: Callable[[int], bytes]) -> File | str:
    """Returns what a file is, or the reason why it is passed over. Raises what `read` raises.

    name: its path in the folder or tar, with `/`. read: returns so many bytes of its beginning.
    """
    if is_hidden(name):
        return HIDDEN
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    stem = str(path.with_suffix("")) if suffix in IMAGES | {TEXT, RECORD} else name
    if suffix in (TEXT, RECORD):
        return File(name, stem, "text" if suffix == TEXT else "record")
    if suffix == ".png" and stem.lower().endswith(_HEATMAP):
        return File(name, stem[: -len(_HEATMAP)], "heatmap")
    if looks_like_dicom(read(HEAD)):
        return _dicom(name, stem, belonging(read))
    return File(name, stem, "image") if suffix in IMAGES else OTHER


def _dicom(name: str, stem: str, header: Belonging) -> File | str:
    if header.manufacturer.casefold() == MANUFACTURER.casefold():
        return OWN
    if header.report:
        return File(name, stem, "structured report", header)
    return File(name, stem, "image", header) if header.image else NO_IMAGE


def is_hidden(name: str) -> bool:
    """Decides whether a file is one that systems put beside users' own. Example: `._1.png`."""
    parts = PurePosixPath(name).parts
    return any(p.lower() in _SYSTEM or (p.startswith(".") and p.strip(".")) for p in parts)
