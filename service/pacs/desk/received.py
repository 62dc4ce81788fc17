"""Reads of a received object what sorts it: whose study it is of, and what the rules ask for."""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from service.errors import ImageUndecodable, RequestMalformed
from service.identifiers import canonical
from service.imaging.dicom.deflated import HEAD, inflated
from service.imaging.dicom.header import BoundedFile, looks_like_dicom
from service.imaging.dicom.sop_classes import is_projection
from service.imaging.libraries import decoding

_WORDS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view": "ViewPosition",
    "station": "StationName",
    "manufacturer": "Manufacturer",
}
"""Member of `Received` → element."""
_IDS = ("StudyInstanceUID", "SOPInstanceUID")
_TAGS: list[BaseTag | int] = [Tag(name) for name in (*_IDS, "SOPClassUID", *_WORDS.values())]
_LAST = max(_TAGS)
_LIMITS = (2**14, 2**20, 2**31)
"""Bytes of the beginning that are read: most headers lie in the first, and the last is all."""
_LONGEST = 64
"""Characters of a value that are read: the standard's longest here (UI and LO)."""


@dataclass(frozen=True, slots=True)
class Received:
    """What sorts a received object. Texts are in upper case without blanks at their ends."""

    study_uid: str
    instance_uid: str
    radiograph: bool
    """Whether its SOP class and modality are those of projection radiography."""
    modality: str = ""
    body_part: str = ""
    view: str = ""
    station: str = ""
    manufacturer: str = ""


def read_received(file: bytes) -> Received:
    """Returns what sorts a DICOM file, read in bounded time and memory.

    Raises ImageUndecodable for what is no DICOM file, or names no study or no instance.
    """
    dataset = _header(file) if looks_like_dicom(file) else Dataset()
    study, instance = (_word(dataset, name) for name in _IDS)
    try:
        canonical(study)
        canonical(instance)
    except RequestMalformed:
        raise ImageUndecodable(
            "The object is no DICOM file, or its StudyInstanceUID or SOPInstanceUID is missing or "
            "malformed. Export it again."
        ) from None
    words = {member: _word(dataset, name).upper() for member, name in _WORDS.items()}
    return Received(study, instance, is_projection(dataset), **words)


def _header(file: bytes) -> Dataset:
    """Returns the elements that are wanted; none of a damaged file."""
    for limit in _LIMITS:
        data = file[:limit]
        try:
            with decoding:
                beginning = inflated(data, min(limit, HEAD), cut=True)
                bounded = BoundedFile(beginning)
                header = read_partial(bounded, _is_past, specific_tags=_TAGS, force=True)
                found = Dataset({element.tag: element for element in header})
                if bounded.tell() < len(beginning) or len(data) < limit:
                    return found
        except Exception:  # a damaged header makes pydicom raise anything
            if len(data) < limit:
                break
    return Dataset()


def _is_past(tag: BaseTag, *_: object) -> bool:
    """Decides whether all wanted elements are passed: a file has them in ascending order."""
    return bool(tag > _LAST)


def _word(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip("\0 \t\r\n")[: _LONGEST + 1]
