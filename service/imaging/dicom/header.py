"""Reads the header of a DICOM file in bounded time, and refuses files that are no radiograph."""

import io
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial, read_sequence_item
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from service.errors import ImageNotARadiograph, ImageUndecodable, ImageUnsupported
from service.imaging import aspect
from service.imaging.deidentify import ALLOWED
from service.imaging.dicom import region, view
from service.imaging.dicom.attributes import rows_and_columns
from service.imaging.dicom.elements import is_given, number
from service.imaging.dicom.spacing import pixel_ratio

PROJECTION = frozenset({"CR", "DX", "DR", "XR", "RG", "OT", "SC", ""})
"""Modalities of projection radiography, and those that a converter writes (PS3.3 C.7.3.1.1.1)."""
_RADIOGRAPHS = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
    }
)
"""SOP classes of radiographs, whatever their Modality says, unless that is mammography."""
_ANY_IMAGE = frozenset(
    {
        "",
        SecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
        XRayAngiographicImageStorage,
        XRayRadiofluoroscopicImageStorage,
    }
)
"""SOP classes that may hold a radiograph. Modality decides of these, and of private ones."""
_FIRST_GROUPS = frozenset({0x0002, 0x0008})
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)
_MAX_FIRST_ELEMENT = 1024
_CHARACTER_SET = Tag("SpecificCharacterSet")
_PIXEL_DATA = Tag("PixelData")
_WORDS = [*map(Tag, (*region.STATEMENTS, *region.DESCRIPTIONS, *view.ELEMENTS))]
_LUTS = {Tag("ModalityLUTSequence"): "ModalityLUTSequence", Tag("VOILUTSequence"): "VOILUTSequence"}
_LUT_DATA = (b"\x28\x00\x06\x30", b"\x00\x28\x30\x06")
"""The tag of LUTData in either byte order."""
_READ: list[BaseTag | int] = [
    *_WORDS,
    *map(Tag, ALLOWED),
    *map(Tag, (
        "PixelData", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "HighBit",
        "PixelRepresentation", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept",
        "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "ImagerPixelSpacing", "PixelSpacing", "PixelAspectRatio", "SOPClassUID",
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
    group, vr = int.from_bytes(data[:2], "little"), data[4:6]
    length = data[6:8] if vr in _VRS else data[4:8]
    return group in _FIRST_GROUPS and int.from_bytes(length, "little") <= _MAX_FIRST_ELEMENT


def read_dataset(data: bytes) -> tuple[Dataset, memoryview]:
    """Reads the elements that decoding needs; pixels stay compressed.

    Returns the dataset, and the file up to the end of its pixels.

    Raises ImageUndecodable if the header is larger than a radiograph needs, ImageUnsupported if
    the file is deflated (PS3.5 A.5), and anything at all, from pydicom, if it is damaged.
    """
    file = BoundedFile(data)
    try:
        dataset = read_partial(file, file.stops_at, specific_tags=_READ, force=True)
        end = file.tell()
        for tag in file.luts:
            setattr(dataset, _LUTS[tag], _first_lut(file, tag, dataset))
    except OSError:  # pydicom's, in place of what its file raised
        if not file.refused:
            raise
    else:
        return dataset, memoryview(data)[:end]
    raise _too_large()


def _first_lut(file: "BoundedFile", tag: BaseTag, dataset: Dataset) -> Sequence:
    """Reads the first item of a LUT sequence that holds a LUT; the others are not read."""
    start, vr, length = file.luts[tag]
    implicit, little = dataset.original_encoding
    file.start_lut(tag)
    while length == _UNDEFINED or file.tell() < start + length:
        item = read_sequence_item(file, bool(implicit) or vr == "UN", bool(little), "iso8859")
        if item is None or is_given(item, "LUTData"):
            return Sequence([] if item is None else [item])
    return Sequence()


def check_header(dataset: Dataset, check_shape: CheckShape) -> tuple[int, int]:
    """Refuses a dataset that is not one monochrome projection image of an accepted shape.

    Returns rows and columns in square pixels.

    Raises ImageNotARadiograph, ImageUnsupported, or what `check_shape` raises.
    """
    if not _is_projection(dataset):
        raise ImageNotARadiograph(
            "The DICOM's SOPClassUID and Modality are not those of projection radiography. "
            "Send CR, DX or RG objects."
        )
    if "PixelData" not in dataset:
        raise ImageUnsupported("The DICOM holds no pixel data. Send the image object itself.")
    if (number(dataset, "NumberOfFrames") or 1) > 1:
        raise ImageUnsupported(
            "The DICOM has several frames (NumberOfFrames). Send one file for each frame."
        )
    region.check_region(dataset)
    shape = aspect.square_shape(*rows_and_columns(dataset), pixel_ratio(dataset))
    check_shape(*shape)
    return shape


def _is_projection(dataset: Dataset) -> bool:
    """Decides by the SOP class where it tells, else by Modality (PS3.4 B.5, PS3.3 C.7.3.1.1.1)."""
    value = dataset.get("Modality") or ""
    values = value if isinstance(value, MultiValue) else [value]
    modalities = {str(each).strip().upper() for each in values}
    sop_class = UID(str(dataset.get("SOPClassUID") or ""))
    if sop_class in _RADIOGRAPHS:
        return "MG" not in modalities
    private = sop_class.name == sop_class  # the standard's other classes hold no radiographs
    return (sop_class in _ANY_IMAGE or private) and not modalities.isdisjoint(PROJECTION)


def unsupported_syntax(syntax: UID) -> ImageUnsupported:
    """Returns the error for a transfer syntax that cannot be decoded.

    It names a syntax that the standard knows; any other is "unknown", because the header's own
    text could be anything.
    """
    name = syntax.name if syntax.name != syntax else "unknown"
    return ImageUnsupported(
        f"The DICOM's transfer syntax ({name}) cannot be decoded here. Export it uncompressed."
    )


class BoundedFile(io.BytesIO):
    """A DICOM file that pydicom can read only in a bounded number of steps and header bytes.

    pydicom parses every sequence of undefined length, even one that is not wanted (PS3.5 7.5.1).
    It calls `read` without a size only to inflate a deflated file whole (PS3.5 A.5); that is
    refused, because nothing bounds the result.

    luts: where the value of each LUT sequence starts, its VR and its length. Their bytes are not
    counted, but nothing in them may be long except a LUT. refused: whether it raised.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data, self._native = memoryview(data), _UNDEFINED
        self._steps, self._header = _MAX_STEPS, _MAX_HEADER
        self._part, self._tag = "header", b""
        self.refused = False
        self.luts: dict[BaseTag, tuple[int, str | None, int]] = {}

    def read(self, size: int | None = None) -> bytes | memoryview:  # type: ignore[override]
        """Reads so many bytes. Refuses a file that is deflated, or whose header is too large."""
        if size is None:
            raise unsupported_syntax(DeflatedExplicitVRLittleEndian)
        if size == self._native:
            return self._pixels(size)
        content = super().read(size)
        self._steps -= 1
        if self._part == "header":
            self._header -= len(content)
        self.refused = min(self._steps, self._header) < 0 or self._is_no_lut(len(content))
        if self.refused:
            raise _too_large()
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
        self._part = {_PIXEL_DATA: "pixels", **dict.fromkeys(_LUTS, "LUT")}.get(tag, "header")
        self._native = length if tag == _PIXEL_DATA else _UNDEFINED
        if tag in _LUTS:
            self.luts[tag] = self.tell(), vr, length
        if self._part == "header" and length != _UNDEFINED and length > _max_bytes(tag):
            raise _too_large()
        return bool(tag > _PIXEL_DATA)

    def start_lut(self, tag: BaseTag) -> None:
        """Goes back to the first item of a LUT sequence."""
        self._part = "LUT"
        self.seek(self.luts[tag][0])


def _max_bytes(tag: int) -> int:
    """The longest value accepted for an element; elements that are skipped have no bound."""
    if tag in _WORDS:
        return _MAX_WORDS
    return _MAX_VALUE if tag in _READ or tag == _CHARACTER_SET else _UNDEFINED


def _too_large() -> ImageUndecodable:
    return ImageUndecodable(
        "The DICOM's header holds more elements, items or bytes than a radiograph's. "
        "Export it again without private elements."
    )
