"""Reads DICOM objects in a bounded number of steps, bytes and levels, whatever they hold.

pydicom parses a sequence of undefined length at once, and one of defined length when it is first
asked for, both without a bound. Here every sequence is read through a file that counts.
"""

import io
from collections.abc import Callable, Iterable
from typing import TypeVar

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial, read_sequence_item
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import PersonName

from service.errors import StudyInvalid
from service.imaging.dicom.deflated import HEAD, inflated
from service.imaging.libraries import decoding

T = TypeVar("T")
_MAX_STEPS = 100_000
"""Reads of one object: pydicom takes one to three for each element and each item."""
_MAX_BYTES = 2**22
"""Bytes read of one object, pixels not counted. A sequence counts again at each of its levels."""
_PIXELS = Tag("FloatPixelData")
"""The first element of a file's pixels (PS3.5 7.1)."""
_TAG_AND_LENGTH = 8
"""Bytes that pydicom reads of each element before its value."""
_UNNAMED = "iso8859"
"""The encoding that pydicom takes where a file names no character set, or an unknown one."""
_DAMAGED = "A DICOM object of this study is damaged or truncated. Export it again from its source."
_TOO_LARGE = (
    "A DICOM object of this study holds more elements, items or bytes than a report or a "
    "radiograph's header. Export it again without private elements."
)
_WRONG_CHARACTERS = (
    "A structured report is not written in the character set that it names "
    "(SpecificCharacterSet). Correct it, or export the report again."
)


def read_object(file: bytes, wanted: Iterable[str], read: Callable[["ObjectReader"], T]) -> T:
    """Returns what `read` makes of a DICOM object.

    wanted: keywords of the elements that are read at the top level; all are read in items.

    Raises StudyInvalid for an object that is damaged or too large, and what `read` raises of that
    kind.
    """
    count = _Count()
    try:
        with decoding:
            return read(ObjectReader(file, wanted, count))
    except StudyInvalid:
        raise
    except Exception:  # a damaged object makes pydicom raise anything
        raise StudyInvalid(_TOO_LARGE if count.passed else _DAMAGED) from None


class ObjectReader:
    """Reads the items and the texts of one object. `dataset` holds its elements up to the pixels.

    What it raises, `read_object` turns into StudyInvalid.
    """

    def __init__(self, file: bytes, wanted: Iterable[str], count: "_Count") -> None:
        tags: list[BaseTag | int] = [*map(Tag, wanted)]
        self._count = count
        beginning = inflated(file, HEAD, cut=True)
        counted = _CountedFile(beginning, count)
        self.dataset: Dataset = read_partial(
            counted,
            lambda tag, *_: bool(tag >= _PIXELS),
            specific_tags=tags,
            force=True,
        )
        if counted.tell() > len(beginning):  # the last element is longer than what there is of it
            raise StudyInvalid(_DAMAGED)

    def items(self, dataset: Dataset, keyword: str) -> list[Dataset]:
        """Returns the items of a sequence; none if it is absent."""
        element: DataElement | RawDataElement | None = dataset.get_item(keyword)
        if element is None:
            return []
        if isinstance(element, DataElement):  # of undefined length: it was read at once
            return [item for item in element.value or () if isinstance(item, Dataset)]
        value = element.value or b""
        implicit = element.is_implicit_VR or element.VR == "UN"
        encoding, part = dataset.original_character_set, _CountedFile(value, self._count)
        found = list[Dataset]()
        while part.tell() < len(value):
            item = read_sequence_item(part, implicit, element.is_little_endian, encoding)
            if item is None:
                break
            found.append(item)
        return found

    def first(self, dataset: Dataset, keyword: str) -> Dataset:
        """Returns the first item of a sequence; an empty one if there is none."""
        return next(iter(self.items(dataset, keyword)), Dataset())

    def text(self, dataset: Dataset, keyword: str) -> str:
        """Returns an element's text without padding; empty if it is absent or no text."""
        return "\\".join(self.texts(dataset, keyword))

    def texts(self, dataset: Dataset, keyword: str) -> list[str]:
        """Returns the values of an element that are text, without padding.

        Where no character set is named, bytes that are UTF-8 are read as such, others as Latin-1.

        Raises StudyInvalid for bytes that the named character set does not have.
        """
        value = dataset.get(keyword)
        values = value if isinstance(value, MultiValue | list) else [value]
        found = [str(each) for each in values if isinstance(each, str | PersonName)]
        encodings = dataset.original_character_set
        if encodings == _UNNAMED or encodings == [_UNNAMED]:
            found = [_as_utf8(each) for each in found]
        if any("\ufffd" in each for each in found):
            raise StudyInvalid(_WRONG_CHARACTERS)
        return [each.strip("\0 \t\r\n") for each in found]


class _Count:
    """Counts the reads of one object. `passed`: whether there were too many."""

    def __init__(self) -> None:
        self._steps, self._bytes = _MAX_STEPS, _MAX_BYTES

    @property
    def passed(self) -> bool:
        return min(self._steps, self._bytes) < 0

    def take(self, size: int) -> None:
        self._steps -= 1
        self._bytes -= size
        if self.passed:
            raise StudyInvalid(_TOO_LARGE)


class _CountedFile(io.BytesIO):
    """A file, or the value of a sequence, whose reads are counted. None may be cut short."""

    def __init__(self, data: bytes, count: _Count) -> None:
        super().__init__(data)
        self._count = count

    def read(self, size: int | None = -1) -> bytes:
        """Reads so many bytes. Raises StudyInvalid if there are fewer, or were too many reads."""
        content = super().read(-1 if size is None else size)
        self._count.take(len(content))
        at_end = not content and size == _TAG_AND_LENGTH
        if size is not None and len(content) < size and not at_end:
            raise StudyInvalid(_DAMAGED)
        return content


def _as_utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text
