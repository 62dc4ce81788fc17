"""Reads the header of a DICOM file in bounded time, and refuses files that are no radiograph."""

import io
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from service.errors import ImageNotARadiograph, ImageUndecodable, ImageUnsupported
from service.imaging.deidentify import ALLOWED
from service.imaging.dicom import region, view
from service.imaging.dicom.elements import text

PROJECTION = frozenset({"CR", "DX", "RG", "OT", "SC", ""})
"""Modalities of projection radiography, and those that a converter writes (PS3.3 C.7.3.1.1.1)."""
_FIRST_GROUPS = frozenset({0x0002, 0x0008})
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)
_MAX_FIRST_ELEMENT = 1024
_CHARACTER_SET = Tag("SpecificCharacterSet")
_PIXEL_DATA = Tag("PixelData")
_WORDS = [*map(Tag, (*region.STATEMENTS, *region.DESCRIPTIONS, *view.ELEMENTS))]
_LUTS = [Tag("ModalityLUTSequence"), Tag("VOILUTSequence")]
_READ: list[BaseTag | int] = [
    *_LUTS,
    *_WORDS,
    *map(Tag, ALLOWED),
    *map(Tag, (
        "PixelData", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "HighBit",
        "PixelRepresentation", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept",
        "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "ImagerPixelSpacing", "PixelSpacing",
    )),
]  # fmt: skip
"""Elements that are read of a file; pydicom adds the character set."""
_MAX_STEPS = 100_000
"""Reads of the file: pydicom takes one or two for each element, item and fragment."""
_MAX_HEADER = 2**20
"""Bytes read in front of the pixels."""
_MAX_LUTS = 2**19
"""Bytes of one LUT sequence."""
_MAX_WORDS = 2**16
"""Bytes of a description or a sequence of codes."""
_MAX_VALUE = 2**10
"""Bytes of any other value that is read."""
_UNDEFINED = 0xFFFFFFFF

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


def read_dataset(data: bytes) -> tuple[Dataset, bytes]:
    """Reads the elements that decoding needs; pixels stay compressed.

    Returns the dataset, and the file up to the end of its pixels.

    Raises ImageUndecodable if the header is larger than a radiograph needs, ImageUnsupported if
    the file is deflated (PS3.5 A.5), and anything at all, from pydicom, if it is damaged.
    """
    file = _BoundedFile(data)
    dataset = read_partial(file, file.stops_at, specific_tags=_READ, force=True)
    return dataset, data[: file.tell()]


def check_header(dataset: Dataset, check_shape: CheckShape) -> None:
    """Refuses a dataset that is not one monochrome projection image of an accepted shape.

    Raises ImageNotARadiograph, ImageUnsupported, or what `check_shape` raises.
    """
    if text(dataset, "Modality") not in PROJECTION:
        raise ImageNotARadiograph(
            "The DICOM's modality is not projection radiography. Send CR, DX or RG objects."
        )
    if "PixelData" not in dataset:
        raise ImageUnsupported("The DICOM holds no pixel data. Send the image object itself.")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ImageUnsupported("The DICOM has several frames. Send one file for each frame.")
    if text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        raise ImageUnsupported("The DICOM is in colour. Send a monochrome radiograph.")
    region.check_region(dataset)
    check_shape(int(dataset.Rows), int(dataset.Columns))


def unsupported_syntax(syntax: UID) -> ImageUnsupported:
    """Returns the error for a transfer syntax that cannot be decoded.

    It names a syntax that the standard knows; any other is "unknown", because the header's own
    text could be anything.
    """
    name = syntax.name if syntax.name != syntax else "unknown"
    return ImageUnsupported(
        f"The DICOM's transfer syntax ({name}) cannot be decoded here. Export it uncompressed."
    )


class _BoundedFile(io.BytesIO):
    """A DICOM file that pydicom can read only in a bounded number of steps and header bytes.

    pydicom parses every sequence of undefined length, even one that is not wanted (PS3.5 7.5.1).
    It calls `read` without a size only to inflate a deflated file whole (PS3.5 A.5); that is
    refused, because nothing bounds the result.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._steps, self._header, self._in_header = _MAX_STEPS, _MAX_HEADER, True

    def read(self, size: int | None = None) -> bytes:
        if size is None:
            raise unsupported_syntax(DeflatedExplicitVRLittleEndian)
        content = super().read(size)
        self._steps -= 1
        self._header -= len(content) if self._in_header else 0
        if min(self._steps, self._header) < 0:
            raise _too_large()
        return content

    def stops_at(self, tag: BaseTag, _vr: str | None, length: int) -> bool:
        """Decides whether the pixels are passed (PS3.5 7.1). Refuses values that are too long."""
        self._in_header = tag != _PIXEL_DATA
        if self._in_header and length != _UNDEFINED and length > _max_bytes(tag):
            raise _too_large()
        return bool(tag > _PIXEL_DATA)


def _max_bytes(tag: int) -> int:
    """The longest value accepted for an element; elements that are skipped have no bound."""
    if tag in _LUTS:
        return _MAX_LUTS
    if tag in _WORDS:
        return _MAX_WORDS
    return _MAX_VALUE if tag in _READ or tag == _CHARACTER_SET else _UNDEFINED


def _too_large() -> ImageUndecodable:
    return ImageUndecodable(
        "The DICOM's header holds more elements, items or bytes than a radiograph's. "
        "Export it again without private elements."
    )
