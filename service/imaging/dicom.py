"""DICOM → Radiograph: modality LUT → VOI LUT or window → polarity (PS3.3 C.11, PS3.4 N.2).

pydicom may quote a header's values in warnings and errors, and those may name a patient. So its
logger is silenced, its value checks are off, and no text of its exceptions leaves this module.
"""

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from service.errors import EclipError, ImageNotARadiograph, ImageUndecodable, ImageUnsupported
from service.imaging.deidentify import allowed_tags
from service.imaging.radiograph import Radiograph, Window

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
config.settings.reading_validation_mode = config.IGNORE

PROJECTION = frozenset({"CR", "DX", "RG", "OT", "SC", ""})
_FIRST_GROUPS = frozenset({0x0002, 0x0008})
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN "
    b"UR US UT UV".split()
)
_MAX_FIRST_ELEMENT = 1024

CheckPixels = Callable[[int, int], None]
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


def decode(data: bytes, check_pixels: CheckPixels) -> Radiograph:
    """Decode a single-frame projection radiograph to uint16 display values.

    Raises ImageUnsupported, ImageUndecodable, ImageNotARadiograph, or what `check_pixels` raises.
    """
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        _check_header(dataset, check_pixels)
        return _radiograph(dataset)
    except EclipError:
        raise
    except Exception as error:  # a header can make pydicom raise anything, with its values inside
        raise ImageUndecodable(
            f"The DICOM is damaged or truncated ({type(error).__name__}). Export it again, "
            "uncompressed if possible."
        ) from None


def _radiograph(dataset: Dataset) -> Radiograph:
    stored = _stored_values(dataset)
    shown, window = _display(stored, dataset)
    inverted = _is_inverted(dataset)
    shown = 1 - shown if inverted else shown
    shown[_padding(stored, dataset)] = 0
    tags = allowed_tags(dataset)
    return Radiograph(
        pixels=np.rint(shown * 65535).astype(np.uint16),
        format="dicom",
        window=window,
        inverted=inverted,
        view=tags.get("ViewPosition"),
        spacing_mm=_spacing(dataset),
        provenance=tags,
    )


def _check_header(dataset: Dataset, check_pixels: CheckPixels) -> None:
    if (_text(dataset, "Modality") or "") not in PROJECTION:
        raise ImageNotARadiograph(
            "The DICOM's modality is not projection radiography. Send CR, DX or RG objects."
        )
    if "PixelData" not in dataset:
        raise ImageUnsupported("The DICOM holds no pixel data. Send the image object itself.")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ImageUnsupported("The DICOM has several frames. Send one frame an object.")
    check_pixels(int(dataset.Rows), int(dataset.Columns))


def _stored_values(dataset: Dataset) -> npt.NDArray[Any]:
    """Decompressed pixels as stored; colour is brought to luma."""
    syntax = _transfer_syntax(dataset)
    _check_decodable(syntax)
    pixels = pixel_array(dataset)
    if pixels.ndim == 2:
        return pixels
    if dataset.PhotometricInterpretation == "PALETTE COLOR" or pixels.dtype != np.uint8:
        raise ImageUnsupported("The DICOM is in colour. Send a monochrome radiograph.")
    return np.asarray(Image.fromarray(pixels).convert("L"))


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


def _check_decodable(syntax: UID) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        name = syntax.name if not syntax.is_private else "private"
        raise ImageUnsupported(
            f"The DICOM's transfer syntax ({name}) cannot be decoded here. Export it uncompressed."
        )


def _display(stored: npt.NDArray[Any], dataset: Dataset) -> tuple[Values, Window]:
    """Display values 0…1, before polarity, and the window that made them."""
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    if "VOILUTSequence" in dataset:
        return _voi_lut(values, dataset)
    window = _stored_window(dataset)
    if window is None:
        seen = values[~_padding(stored, dataset)]
        window = Window(float(seen.min()), float(seen.max()), "value-range")
    elif dataset.get("VOILUTFunction") == "SIGMOID":
        centre, width = (window.low + window.high) / 2, window.high - window.low
        return 1 / (1 + np.exp(-4 * (values - centre) / width)), window
    span = max(window.high - window.low, 1e-9)
    return np.clip((values - window.low) / span, 0, 1), window


def _voi_lut(values: Values, dataset: Dataset) -> tuple[Values, Window]:
    """The first VOI LUT, over its own output range (PS3.3 C.11.2.1.1)."""
    shown = np.asarray(apply_voi_lut(values.astype(np.int64), dataset), dtype=np.float64)
    entries, first, bits = dataset.VOILUTSequence[0].LUTDescriptor
    low, high = float(first), float(first) + (entries or 65536) - 1
    return np.clip(shown / (2**bits - 1), 0, 1), Window(low, high, "voi-lut")


def _stored_window(dataset: Dataset) -> Window | None:
    """The first window of the file (PS3.3 C.11.2.1.2); None where it has no sensible one."""
    centre, width = (_number(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or not width > 1:
        return None
    if dataset.get("VOILUTFunction", "LINEAR") != "LINEAR":
        return Window(centre - width / 2, centre + width / 2, "window")
    return Window(centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2, "window")


def _padding(stored: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Pixels that are no image (PS3.3 C.7.5.1.1.2); none when that would be all of them."""
    value = _number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = _number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padding: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return np.zeros_like(padding) if padding.all() else padding


def _is_inverted(dataset: Dataset) -> bool:
    """Whether low stored values are shown bright (PS3.3 C.7.6.3.1.2, C.11.6)."""
    shape, photometric = (
        dataset.get("PresentationLUTShape"),
        dataset.get("PhotometricInterpretation"),
    )
    return bool(shape == "INVERSE" or photometric == "MONOCHROME1")


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    for name in ("ImagerPixelSpacing", "PixelSpacing"):
        spacing = dataset.get(name)
        if spacing is not None and len(spacing) == 2:
            return float(spacing[0]), float(spacing[1])
    return None


def _number(dataset: Dataset, name: str) -> float | None:
    """A numeric element's first value, or None where it is absent or not finite."""
    value = dataset.get(name)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return float(value) if value is not None and np.isfinite(float(value)) else None


def _text(dataset: Dataset, name: str) -> str | None:
    value = dataset.get(name)
    return str(value).strip().upper() or None if value is not None else None
