"""Reads the header of a DICOM file in bounded time, and refuses files that are no radiograph."""

import io
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial, read_sequence_item
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from service.errors import ImageNotARadiograph, ImageUndecodable, ImageUnsupported
from service.imaging import aspect
from service.imaging.deidentify import ALLOWED
from service.imaging.dicom import functional_groups, region, view
from service.imaging.dicom.attributes import rows_and_columns
from service.imaging.dicom.elements import is_given, number
from service.imaging.dicom.sop_classes import is_projection
from service.imaging.dicom.spacing import pixel_ratio

_UNREADABLE = frozenset(
    {f"1.2.840.10008.1.2.{last}" for last in ("4.94", "4.95", "4.204", "4.205")}
    | {"1.2.840.10008.1.20"}
)
"""Transfer syntaxes of files that hold an address and no pixels (JPIP), and of Papyrus 3."""
_FIRST_GROUPS = frozenset({0x0002, 0x0008})
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)
_MAX_FIRST_ELEMENT = 1024
_CHARACTER_SET = Tag("SpecificCharacterSet")
_PIXEL_DATA = Tag("PixelData")
_WORDS = frozenset(map(Tag, (*region.STATEMENTS, *region.DESCRIPTIONS, *view.ELEMENTS)))
_LUTS = {Tag("ModalityLUTSequence"): "ModalityLUTSequence", Tag("VOILUTSequence"): "VOILUTSequence"}
_GROUPS = frozenset(map(Tag, functional_groups.GROUPS))
_FLOATS = {
    Tag("FloatPixelData"): "FloatPixelData",
    Tag("DoubleFloatPixelData"): "DoubleFloatPixelData",
}
_LUT_DATA = (b"\x28\x00\x06\x30", b"\x00\x28\x30\x06")
"""The tag of LUTData in either byte order."""
_READ: list[BaseTag | int] = [
    *_WORDS,
    *map(Tag, ALLOWED),
    *map(Tag, (
        "PixelData", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "HighBit",
        "PixelRepresentation", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept",
        "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "ImagerPixelSpacing", "PixelSpacing", "PixelSpacingCalibrationType", "PixelAspectRatio",
        "ImageLaterality", "Laterality", "SOPClassUID",
        "PresentationIntentType", "PixelIntensityRelationshipSign",
    )),
]  # fmt: skip
"""Elements that are read of a file; pydicom adds the character set. LUTs are read after them."""
_MAX_STEPS = 100_000
"""Reads of the file: pydicom takes one or two for each element, item and fragment."""
_MAX_HEADER = 2**20
"""Bytes read in front of the pixels, without LUTs: a file may hold many of them."""
_MAX_LUT = 2**17
"""Bytes of one LUT: 65,536 entries of 16 bits."""
_MAX_WORDS = 2**16
"""Bytes of a description or a sequence of codes."""
_MAX_VALUE = 2**10
"""Bytes of any other value that is read."""
_LONGEST: dict[int, int] = {
    **dict.fromkeys((*_READ, _CHARACTER_SET), _MAX_VALUE),
    **dict.fromkeys(_WORDS, _MAX_WORDS),
}
"""The longest value accepted for an element; elements that are skipped have no bound."""
_UNDEFINED = 0xFFFFFFFF
_TAG_AND_LENGTH = 8
"""Bytes that pydicom reads of each element before its value."""

CheckShape = Callable[[int, int], None]
"""Raises an EclipError for rows and columns that must not be decoded."""


def looks_like_dicom(data: bytes) -> bool:
    """Decides whether the bytes begin as a DICOM file does, with or without (headless) preamble.

    The first 132 bytes of a file are enough.
    """
    if data[128:132] == b"DICM":
        return True
    if len(data) < 12:
        return False
    explicit = data[4:6] in _VRS
    length = data[6:8] if explicit else data[4:8]
    orders: tuple[Literal["little", "big"], ...] = ("little", "big") if explicit else ("little",)
    return any(
        int.from_bytes(data[:2], order) in _FIRST_GROUPS
        and int.from_bytes(length, order) <= _MAX_FIRST_ELEMENT
        for order in orders
    )


def read_dataset(data: bytes) -> tuple[Dataset, memoryview]:
    """Reads the elements that decoding needs; pixels stay compressed.

    Returns the dataset, and the file up to the end of its pixels.

    Raises ImageUndecodable if the header is larger than a radiograph needs, IsDeflated if the file
    is deflated (PS3.5 A.5), and anything at all, from pydicom, if it is damaged.
    """
    file = BoundedFile(data)
    try:
        dataset = read_partial(file, file.stops_at, specific_tags=_READ, force=True)
        end = file.tell()
        first = [
            item
            for tag in sorted(file.places.keys() & _GROUPS)
            for item in islice(_items(file, tag, dataset), 1)
        ]
        for tag in file.places.keys() & _LUTS:
            setattr(dataset, _LUTS[tag], _luts(file, tag, dataset))
        functional_groups.take_first_frame(dataset, first)
        for tag in file.places.keys() & _FLOATS:
            setattr(dataset, _FLOATS[tag], b"")
    except OSError:  # pydicom's, in place of what its file raised
        if not file.refused:
            raise
    else:
        return dataset, memoryview(data)[:end]
    raise too_large()


def _luts(file: "BoundedFile", tag: BaseTag, dataset: Dataset) -> Sequence:
    """Reads the first items of a LUT sequence that hold a LUT: one to use, one to say it of.

    The second one need not be readable.
    """
    holding = (item for item in _items(file, tag, dataset) if is_given(item, "LUTData"))
    found = list(islice(holding, 1))
    try:
        found += islice(holding, 1)
    except Exception:  # pydicom raises anything
        file.refused = False
    return Sequence(found)


def _items(file: "BoundedFile", tag: BaseTag, dataset: Dataset) -> Iterator[Dataset]:
    """Reads one item of a sequence after the other."""
    place, vr, length = file.places[tag]
    implicit, little = dataset.original_encoding
    file.start(tag)
    while length == _UNDEFINED or file.tell() < place + length:
        item = read_sequence_item(file, bool(implicit) or vr == "UN", bool(little), "iso8859")
        if item is None:
            return
        yield item


def check_header(dataset: Dataset, check_shape: CheckShape) -> tuple[int, int]:
    """Refuses a dataset that is not one monochrome projection image of an accepted shape.

    Returns rows and columns in square pixels.

    Raises ImageNotARadiograph, ImageUnsupported, or what `check_shape` raises.
    """
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if syntax in _UNREADABLE:
        raise unsupported_syntax(syntax)
    if not is_projection(dataset):
        raise ImageNotARadiograph(
            "The DICOM's SOPClassUID and Modality are not those of projection radiography. "
            "Send CR, DX or RG objects."
        )
    if any(keyword in dataset for keyword in _FLOATS.values()):
        raise ImageUnsupported(
            "The DICOM's pixels are floating-point numbers (FloatPixelData or DoubleFloatPixelData)"
            ", which no radiograph has. Send the image with whole numbers (PixelData)."
        )
    if "PixelData" not in dataset:
        raise ImageUnsupported(
            "The DICOM holds no pixel data, or is cut off within them. Send the whole image object."
        )
    if (number(dataset, "NumberOfFrames") or 1) > 1:
        raise ImageUnsupported(
            "The DICOM has several frames (NumberOfFrames). Send one file for each frame."
        )
    region.check_region(dataset)
    shape = aspect.square_shape(*rows_and_columns(dataset), pixel_ratio(dataset))
    check_shape(*shape)
    return shape


def unsupported_syntax(syntax: UID) -> ImageUnsupported:
    """Returns the error for a transfer syntax that cannot be decoded.

    It names a syntax that the standard knows; any other is "unknown", because the header's own
    text could be anything.
    """
    name = syntax.name if syntax.name != syntax else "unknown"
    return ImageUnsupported(
        f"The DICOM's transfer syntax ({name}) cannot be decoded here. Export it uncompressed."
    )


class IsDeflated(Exception):
    """The elements of a file are deflated, from where it was read."""


class BoundedFile(io.BytesIO):
    """A DICOM file that pydicom can read only in a bounded number of steps and header bytes.

    pydicom parses every sequence of undefined length, even one that is not wanted (PS3.5 7.5.1).
    It calls `read` without a size only to inflate a deflated file whole (PS3.5 A.5); that raises
    IsDeflated, because nothing bounds the result. `service.imaging.dicom.deflated` inflates.

    places: where the value of each sequence of LUTs or functional groups starts, its VR and its
    length. The bytes of LUTs are not counted, but nothing else among them may be long. refused:
    whether it raised because of a bound.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data, self._native = memoryview(data), _UNDEFINED
        self._steps, self._header = _MAX_STEPS, _MAX_HEADER
        self._part, self._tag = "header", b""
        self.refused = False
        self.places: dict[BaseTag, tuple[int, str | None, int]] = {}

    def read(self, size: int | None = None) -> bytes | memoryview:  # type: ignore[override]
        """Reads so many bytes. Refuses a file that is deflated, or whose header is too large."""
        if size is None:
            raise IsDeflated
        if size == self._native:
            return self._pixels(size)
        content = super().read(size)
        self._steps -= 1
        if self._part == "header":
            self._header -= len(content)
        self.refused = min(self._steps, self._header) < 0 or self._is_no_lut(len(content))
        if self.refused:
            raise too_large()
        self._tag = content[:4] if len(content) == _TAG_AND_LENGTH else self._tag
        return content

    def _pixels(self, size: int) -> memoryview:
        """The value of uncompressed pixels, without a copy."""
        self._native = _UNDEFINED
        start = self.tell()
        value = self._data[start : start + size]
        self.seek(start + len(value))
        return value

    def _is_no_lut(self, length: int) -> bool:
        """Whether a long value in a LUT sequence cannot be a LUT."""
        long = self._part == "LUT" and length > _MAX_VALUE
        return long and (self._tag not in _LUT_DATA or length > _MAX_LUT)

    def stops_at(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        """Decides whether the pixels are passed (PS3.5 7.1). Refuses values that are too long."""
        self._part = _part(tag)
        self._native = length if tag == _PIXEL_DATA else _UNDEFINED
        if tag in _LUTS or tag in _GROUPS or tag in _FLOATS:
            self.places[tag] = self.tell(), vr, length
        longest = _LONGEST.get(tag, _UNDEFINED)
        if self._part == "header" and longest < length != _UNDEFINED:
            raise too_large()
        return bool(tag > _PIXEL_DATA)

    def start(self, tag: BaseTag) -> None:
        """Goes back to the first item of a sequence of `places`."""
        self._part = _part(tag)
        self.seek(self.places[tag][0])


def _part(tag: BaseTag) -> str:
    """The part of the file that an element is counted to."""
    return "pixels" if tag == _PIXEL_DATA else "LUT" if tag in _LUTS else "header"


def too_large() -> ImageUndecodable:
    """Returns the error for a header over the bounds of this module."""
    return ImageUndecodable(
        "The DICOM's header holds more elements, items or bytes than a radiograph's. "
        "Export it again without private elements."
    )
