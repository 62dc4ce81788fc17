"""DICOM → Radiograph: modality LUT → VOI LUT or window → polarity (PS3.3 C.11, PS3.4 N.2).

pydicom may quote a header's values in warnings and errors, and those may name a patient. So its
logger and warnings are silenced, its value checks are off, and no text of its exceptions leaves
this module.
"""

import io
import logging
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from service.errors import EclipError, ImageNotARadiograph, ImageUndecodable, ImageUnsupported
from service.imaging import jpeg
from service.imaging.deidentify import ALLOWED, allowed_tags
from service.imaging.radiograph import Radiograph, Window

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom\.")
config.settings.reading_validation_mode = config.IGNORE

PROJECTION = frozenset({"CR", "DX", "RG", "OT", "SC", ""})
_FIRST_GROUPS = frozenset({0x0002, 0x0008})
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)
_MAX_FIRST_ELEMENT = 1024
_CODECS = {
    **dict.fromkeys((ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian), ""),
    RLELossless: "",
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), "pillow"),
    **dict.fromkeys(
        (JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), "pylibjpeg"
    ),
    **dict.fromkeys((JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless), "gdcm"),
}
"""Transfer syntax → the pydicom plugin that decodes it; native and unpacked ones need none."""
_GDCM = Path(__file__).with_name("codec.py")
_GDCM_TIMEOUT_S = 60
_JPEG = b"\xff\xd8"
_JPEG2000 = b"\xff\x4f\xff\x51"
_CHARACTER_SET = Tag("SpecificCharacterSet")
_PIXEL_DATA = Tag("PixelData")
_LUTS = [Tag("ModalityLUTSequence"), Tag("VOILUTSequence")]
_READ: list[BaseTag | int] = [
    *_LUTS,
    *map(Tag, ALLOWED),
    *map(Tag, (
        "PixelData", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "HighBit",
        "PixelRepresentation", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept",
        "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "ImagerPixelSpacing", "PixelSpacing",
    )),
]  # fmt: skip
"""What is read of a file. pydicom reads its character set too."""
_MAX_STEPS = 100_000
_MAX_HEADER = 2**20
_MAX_LUTS = 2**19
_MAX_VALUE = 2**10
_UNDEFINED = 0xFFFFFFFF

CheckShape = Callable[[int, int], None]
Values = npt.NDArray[np.float64]


def looks_like_dicom(data: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does, with its preamble or without (headless)."""
    if data[128:132] == b"DICM":
        return True
    if len(data) < 12:
        return False
    group, vr = int.from_bytes(data[:2], "little"), data[4:6]
    length = data[6:8] if vr in _VRS else data[4:8]
    return group in _FIRST_GROUPS and int.from_bytes(length, "little") <= _MAX_FIRST_ELEMENT


def decode(data: bytes, check_shape: CheckShape) -> Radiograph:
    """Decode a single-frame projection radiograph to uint16 display values.

    Raises ImageUnsupported, ImageUndecodable, ImageNotARadiograph, or what `check_shape` raises.
    """
    try:
        file = _BoundedFile(data)
        dataset = read_partial(file, file.stops_at, specific_tags=_READ, force=True)
        _check_header(dataset, check_shape)
        return _radiograph(dataset, _stored_values(dataset, data[: file.tell()]))
    except EclipError:
        raise
    except Exception as error:  # a header can make pydicom raise anything, with its values inside
        reason = type(error).__name__
    raise ImageUndecodable(  # outside the handler, so that it does not carry pydicom's error along
        f"The DICOM is damaged or truncated ({reason}). Export it again, uncompressed if possible."
    )


class _BoundedFile(io.BytesIO):
    """A DICOM file that pydicom reads in a bounded number of steps and header bytes.

    pydicom takes a step or two an element, item and fragment, and parses every sequence of
    undefined length even where it is not wanted (PS3.5 7.5.1). It reads a file without a size only
    to inflate it whole, whatever comes of that: deflated objects (PS3.5 A.5) are refused there.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._steps, self._header, self._in_header = _MAX_STEPS, _MAX_HEADER, True

    def read(self, size: int | None = None) -> bytes:
        if size is None:
            raise _unsupported(DeflatedExplicitVRLittleEndian)
        content = super().read(size)
        self._steps -= 1
        self._header -= len(content) if self._in_header else 0
        if min(self._steps, self._header) < 0:
            raise _overgrown()
        return content

    def stops_at(self, tag: BaseTag, _vr: str | None, length: int) -> bool:
        """Whether the pixels are behind (PS3.5 7.1); refuses values that no radiograph needs."""
        self._in_header = tag != _PIXEL_DATA
        if self._in_header and length != _UNDEFINED and length > _most_bytes(tag):
            raise _overgrown()
        return bool(tag > _PIXEL_DATA)


def _most_bytes(tag: int) -> int:
    """The longest value that is read of an element; one that is passed over may have any length."""
    if tag in _LUTS:
        return _MAX_LUTS
    return _MAX_VALUE if tag in _READ or tag == _CHARACTER_SET else _UNDEFINED


def _overgrown() -> ImageUndecodable:
    return ImageUndecodable(
        "The DICOM's header holds more elements, items or bytes than a radiograph's. "
        "Export it again without private elements."
    )


def _radiograph(dataset: Dataset, stored: npt.NDArray[Any]) -> Radiograph:
    values, codes, coded = _levels(stored)
    shown, window = _display(values, dataset)
    inverted = _is_inverted(dataset)
    shown = 1 - shown if inverted else shown
    shown[_padding(values, dataset)] = 0
    grays = np.zeros(codes[-1] + 1, np.uint16)
    grays[codes] = np.rint(shown * 65535)
    tags = allowed_tags(dataset)
    rows, columns = stored.shape
    return Radiograph(
        pixels=grays[coded],
        rows=rows,
        columns=columns,
        format="dicom",
        window=window,
        inverted=inverted,
        view=tags.get("ViewPosition"),
        spacing_mm=_spacing(dataset),
        provenance=tags,
    )


def _levels(
    stored: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp], npt.NDArray[Any]]:
    """The values that occur, a code ≥ 0 for each, ascending, and of each pixel its value's code.

    What is shown of a pixel depends on its value alone, so it is worked out once for each value.
    """
    if stored.itemsize > 2:
        codes = np.arange(stored.size)  # too many values: each pixel is worked out
        return stored.ravel(), codes, codes.reshape(stored.shape)
    coded = stored.view(stored.dtype.str.replace("i", "u"))
    occurs = np.zeros(2 ** (8 * stored.itemsize), bool)
    occurs[coded] = True
    codes = np.flatnonzero(occurs)
    return codes.astype(coded.dtype).view(stored.dtype), codes, coded


def _check_header(dataset: Dataset, check_shape: CheckShape) -> None:
    if _text(dataset, "Modality") not in PROJECTION:
        raise ImageNotARadiograph(
            "The DICOM's modality is not projection radiography. Send CR, DX or RG objects."
        )
    if "PixelData" not in dataset:
        raise ImageUnsupported("The DICOM holds no pixel data. Send the image object itself.")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ImageUnsupported("The DICOM has several frames. Send one frame an object.")
    if _text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        raise ImageUnsupported("The DICOM is in colour. Send a monochrome radiograph.")
    check_shape(int(dataset.Rows), int(dataset.Columns))


def _stored_values(dataset: Dataset, data: bytes) -> npt.NDArray[Any]:
    """Decompressed pixels as stored; colour is brought to luma."""
    syntax = _transfer_syntax(dataset)
    codec = _codec(syntax, int(dataset.BitsStored))
    if syntax == RLELossless:
        _unpack(dataset)
    elif syntax.is_encapsulated:
        _check_codestream(dataset)
    if codec == "gdcm":
        pixels = _decode_apart(data)
    else:  # index: else pydicom decodes frames that the header denies
        pixels = pixel_array(dataset, index=0, decoding_plugin=codec)
    if pixels.ndim == 2:
        return pixels
    if pixels.dtype != np.uint8:
        raise ImageUnsupported("The DICOM is in colour. Send a monochrome radiograph.")
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _decode_apart(data: bytes) -> npt.NDArray[Any]:
    """The pixels by gdcm in a process of its own (see `service.imaging.codec`)."""
    ended = subprocess.run(  # noqa: S603 - our own file, by this interpreter
        [sys.executable, "-P", str(_GDCM)],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_GDCM_TIMEOUT_S,
        check=True,
    )
    pixels: npt.NDArray[Any] = np.load(io.BytesIO(ended.stdout), allow_pickle=False)
    return pixels


def _transfer_syntax(dataset: Dataset) -> UID:
    """As declared; a headless file declares none, and then its own encoding tells (PS3.5 10.1)."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        native = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = native
    syntax: UID = dataset.file_meta.TransferSyntaxUID
    return syntax


def _codec(syntax: UID, bits: int) -> str:
    """The plugin for a syntax; raises ImageUnsupported where none reads it, as JPEG of 12 bits."""
    if syntax not in _CODECS or (syntax == JPEGExtended12Bit and bits > 8):
        raise _unsupported(syntax)
    return _CODECS[syntax]


def _unsupported(syntax: UID) -> ImageUnsupported:
    """Names the syntax only where the standard does: else the header's own text would show."""
    name = syntax.name if syntax.name != syntax else "unknown"
    return ImageUnsupported(
        f"The DICOM's transfer syntax ({name}) cannot be decoded here. Export it uncompressed."
    )


def _frame(dataset: Dataset) -> bytes:
    """The first frame; encapsulated pixels have no defined length (PS3.5 A.4)."""
    if not dataset["PixelData"].is_undefined_length:
        raise ValueError("the pixels are not encapsulated")
    frame: bytes = next(generate_frames(dataset.PixelData, number_of_frames=1))
    return frame


def _unpack(dataset: Dataset) -> None:
    """RLE → native pixels, by plane and from the most significant byte on (PS3.5 G).

    Pillow unpacks no more than it is asked for; pydicom whatever the segments hold.
    """
    frame = _frame(dataset)
    count, *offsets = struct.unpack_from("<16L", frame)
    bounds = [*offsets[:count], len(frame)]
    size = int(dataset.Rows) * int(dataset.Columns)
    planes = [
        np.asarray(Image.frombytes("L", (size, 1), frame[start:end], "packbits", "L")).ravel()
        for start, end in pairwise(bounds)
    ]
    samples = np.stack(planes).reshape(dataset.SamplesPerPixel, dataset.BitsAllocated // 8, size)
    dataset.PixelData = samples[:, ::-1].transpose(0, 2, 1).tobytes()
    dataset.PlanarConfiguration = 1
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _check_codestream(dataset: Dataset) -> None:
    """Refuse a frame whose size is not the header's, before a codec allocates it (PS3.5 8.2)."""
    frame = _frame(dataset)
    if _codestream_shape(frame) != (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel):
        raise ImageUndecodable(
            "The DICOM's compressed frame is damaged, or not of the size that its header declares. "
            "Export it uncompressed."
        )


def _codestream_shape(frame: bytes) -> tuple[int, int, int]:
    """Rows, columns and components in the header of a JPEG, JPEG-LS or JPEG 2000 frame."""
    if frame.startswith(_JPEG):
        jpeg.check_work(frame)
        return jpeg.shape(frame)
    start = frame.index(_JPEG2000)
    right, bottom, left, top, components = struct.unpack_from(">4I16xH", frame, start + 8)
    return bottom - top, right - left, components


def _display(stored: npt.NDArray[Any], dataset: Dataset) -> tuple[Values, Window]:
    """Display values 0…1, before polarity, and the window that made them."""
    values = _modality_values(stored, dataset)
    lut = next((i for i in dataset.get("VOILUTSequence") or [] if "LUTData" in i), None)
    if lut is not None:
        return _voi_lut(values, lut, dataset)
    window = _stored_window(dataset)
    if window is None:
        seen = values[~_padding(stored, dataset)]
        window = Window(float(seen.min()), float(seen.max()), "value-range")
    elif _text(dataset, "VOILUTFunction") == "SIGMOID":
        centre, width = (window.low + window.high) / 2, window.high - window.low
        return (1 + np.tanh(2 * (values - centre) / width)) / 2, window
    span = max(window.high - window.low, 1e-9)
    return np.clip((values - window.low) / span, 0, 1), window


def _modality_values(stored: npt.NDArray[Any], dataset: Dataset) -> Values:
    """Modality LUT, or else rescale, or else as stored (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _read_lut(dataset.ModalityLUTSequence[0], dataset, _is_signed(dataset))(stored)
    values = stored.astype(np.float64)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return values
    if not np.isfinite([float(slope), float(intercept)]).all():
        raise ValueError("the rescale is not finite")
    return values * float(slope) + float(intercept)


def _is_signed(dataset: Dataset) -> bool:
    """Whether stored values are two's complement (PS3.3 C.7.6.3.1)."""
    return bool(dataset.PixelRepresentation == 1)


def _may_be_negative(dataset: Dataset) -> bool:
    """Whether any stored value could give a modality value below 0 (PS3.3 C.11.2.1.1)."""
    if dataset.get("ModalityLUTSequence"):
        return False
    span = 2 ** int(dataset.BitsStored)
    low = -span // 2 if _is_signed(dataset) else 0
    ends = np.array([low, low + span - 1])
    return bool(_modality_values(ends, dataset).min() < 0)


@dataclass(frozen=True, slots=True)
class _Lut:
    """A lookup table; `first` is the value that its first entry stands for."""

    table: Values
    first: int
    bits: int

    def __call__(self, values: npt.NDArray[Any]) -> Values:
        index = np.clip(np.rint(values) - self.first, 0, len(self.table) - 1)
        shown: Values = self.table[index.astype(np.intp)]
        return shown


def _read_lut(item: Dataset, dataset: Dataset, signed: bool) -> _Lut:
    """A LUT of 8- or 16-bit entries (PS3.3 C.11.1.1.1, C.11.2.1.1).

    Its first value is signed where its input is, whatever VR the header gives it. pydicom's own
    LUTs fail on entries of 8 bits and on depths that are no whole bytes.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    first -= 2**16 if signed and first >= 2**15 else 0
    data = item.LUTData
    if isinstance(data, bytes):
        _, little = dataset.original_encoding
        wide = "<u2" if little else ">u2"
        data = np.frombuffer(data, wide if len(data) >= 2 * entries else "u1")
    if len(data) < entries:
        raise ValueError("the LUT is shorter than its descriptor says")
    return _Lut(np.asarray(data[:entries], dtype=np.float64), first, bits)


def _voi_lut(values: Values, item: Dataset, dataset: Dataset) -> tuple[Values, Window]:
    """The VOI LUT over its own output range (PS3.3 C.11.2.1.1)."""
    lut = _read_lut(item, dataset, _may_be_negative(dataset))
    window = Window(float(lut.first), float(lut.first + len(lut.table) - 1), "voi-lut")
    return np.clip(lut(values) / (2**lut.bits - 1), 0, 1), window


def _stored_window(dataset: Dataset) -> Window | None:
    """The first window of the file (PS3.3 C.11.2.1.2, C.11.2.1.3).

    None where it has none that shows grays: a LINEAR width of 1 would only be a threshold.
    """
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    if _text(dataset, "VOILUTFunction") not in {"LINEAR_EXACT", "SIGMOID"}:
        centre, width = centre - 0.5, width - 1
    return Window(centre - width / 2, centre + width / 2, "window") if width > 0 else None


def _padding(stored: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Pixels that are no image (PS3.3 C.7.5.1.1.2); none when that would be all of them."""
    value = _stored_number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = _stored_number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padding: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return np.zeros_like(padding) if padding.all() else padding


def _is_inverted(dataset: Dataset) -> bool:
    """Whether low stored values are shown bright (PS3.3 C.7.6.3.1.2, C.11.6)."""
    shape = _text(dataset, "PresentationLUTShape")
    return shape == "INVERSE" or _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    for name in ("ImagerPixelSpacing", "PixelSpacing"):
        spacing = _numbers(dataset, name)
        if len(spacing) == 2 and min(spacing) > 0:
            return spacing[0], spacing[1]
    return None


def _stored_number(dataset: Dataset, name: str) -> float | None:
    """A 16-bit stored value, signed where the pixels are, whatever VR the header gives it."""
    value = _number(dataset, name)
    if value is None:
        return None
    value %= 2**16
    return value - 2**16 if _is_signed(dataset) and value >= 2**15 else value


def _number(dataset: Dataset, name: str) -> float | None:
    return next(iter(_numbers(dataset, name)), None)


def _numbers(dataset: Dataset, name: str) -> list[float]:
    """An optional element's values; none where it is absent, malformed or not finite."""
    try:
        value = dataset.get(name)
        numbers = [float(each) for each in (value if isinstance(value, MultiValue) else [value])]
    except (TypeError, ValueError):
        return []
    return numbers if np.isfinite(numbers).all() else []


def _text(dataset: Dataset, name: str) -> str:
    return str(dataset.get(name, "")).strip().upper()
