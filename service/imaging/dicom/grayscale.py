"""Turns stored values into display values: modality LUT → VOI LUT or window → polarity.

It follows PS3.3 C.11.1, C.11.2 and C.11.6 in the order of PS3.4 N.2.

The LUT and window code is our own, because pydicom 3.0's (`apply_modality_lut`, `apply_voi_lut`)
raises TypeError for modality LUTs of 10 to 15 bits, raises for 8-bit entries packed two to a
word and for a signed first value that the header gives as unsigned, and uses 256 entries at most
of a VOI LUT of 8 bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.arrays import Bools
from service.imaging.dicom.elements import is_signed, number, text
from service.imaging.radiograph import Window

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Display:
    """The display values uint16[rows, columns], bright = dense, and how they were made.

    window: the range of values that became black…white. inverted: low stored values were bright
    (MONOCHROME1) and have been turned over.
    """

    pixels: npt.NDArray[np.uint16]
    window: Window
    inverted: bool


def display(stored: npt.NDArray[Any], dataset: Dataset) -> Display:
    """Returns the display values of stored integers [rows, columns]. Padding becomes black.

    Raises ValueError for a LUT that is too short and for a rescale that is not finite.
    """
    values, codes, coded = _distinct(stored)
    shown, window = _display_values(values, dataset)
    inverted = _is_inverted(dataset)
    shown = 1 - shown if inverted else shown
    shown[_padding(values, dataset)] = 0
    grays = np.zeros(codes[-1] + 1, np.uint16)
    grays[codes] = np.rint(shown * 65535)
    return Display(grays[coded], window, inverted)


def _distinct(
    stored: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp], npt.NDArray[Any]]:
    """The values that occur, in the order of their codes; those codes; the code of each pixel.

    A pixel's gray depends on its value alone, so it is computed once for each value. A value's
    code is its bits read as unsigned. Example: int16 [-1, 3, 3] → [3, -1], [3, 65535],
    [65535, 3, 3].
    """
    if stored.itemsize > 2:
        codes = np.arange(stored.size)  # 2³² possible values: each pixel is computed
        return stored.ravel(), codes, codes.reshape(stored.shape)
    coded = stored.view(stored.dtype.str.replace("i", "u"))
    occurs = np.zeros(2 ** (8 * stored.itemsize), bool)
    occurs[coded] = True
    codes = np.flatnonzero(occurs)
    return codes.astype(coded.dtype).view(stored.dtype), codes, coded


def _display_values(stored: npt.NDArray[Any], dataset: Dataset) -> tuple[Values, Window]:
    """Display values 0…1, before polarity, and the window that made them.

    Without a VOI LUT and without a usable window, the range of values becomes black…white.
    """
    values = _modality_values(stored, dataset)
    lut = next((i for i in dataset.get("VOILUTSequence") or [] if "LUTData" in i), None)
    if lut is not None:
        return _voi_lut(values, lut, dataset)
    window = _stored_window(dataset)
    if window is None:
        seen = values[~_padding(stored, dataset)]
        window = Window(float(seen.min()), float(seen.max()), "value-range")
    elif text(dataset, "VOILUTFunction") == "SIGMOID":
        centre, width = (window.low + window.high) / 2, window.high - window.low
        return (1 + np.tanh(2 * (values - centre) / width)) / 2, window
    span = max(window.high - window.low, 1e-9)
    return np.clip((values - window.low) / span, 0, 1), window


def _modality_values(stored: npt.NDArray[Any], dataset: Dataset) -> Values:
    """Applies the modality LUT, or else the rescale, or else nothing (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _read_lut(dataset.ModalityLUTSequence[0], dataset, is_signed(dataset))(stored)
    values = stored.astype(np.float64)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        return values
    if not np.isfinite([float(slope), float(intercept)]).all():
        raise ValueError("the rescale is not finite")
    return values * float(slope) + float(intercept)


def _may_be_negative(dataset: Dataset) -> bool:
    """Whether any stored value could give a modality value below 0 (PS3.3 C.11.2.1.1)."""
    if dataset.get("ModalityLUTSequence"):
        return False
    span = 2 ** int(dataset.BitsStored)
    low = -span // 2 if is_signed(dataset) else 0
    ends = np.array([low, low + span - 1])
    return bool(_modality_values(ends, dataset).min() < 0)


@dataclass(frozen=True, slots=True)
class _Lut:
    """A lookup table. `first` is the input value of its first entry, `bits` the depth of all."""

    table: Values
    first: int
    bits: int

    def __call__(self, values: npt.NDArray[Any]) -> Values:
        index = np.clip(np.rint(values) - self.first, 0, len(self.table) - 1)
        shown: Values = self.table[index.astype(np.intp)]
        return shown


def _read_lut(item: Dataset, dataset: Dataset, signed: bool) -> _Lut:
    """Reads a LUT of 8- or 16-bit entries (PS3.3 C.11.1.1.1, C.11.2.1.1).

    signed: whether its input can be negative. Then its first value is signed too, whatever VR the
    header gives it.
    """
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    first -= 2**16 if signed and first >= 2**15 else 0
    data = item.LUTData
    if isinstance(data, bytes):
        _, little = dataset.original_encoding
        words = "<u2" if little else ">u2"
        data = np.frombuffer(data, words if len(data) >= 2 * entries else "u1")
    if len(data) < entries:
        raise ValueError("the LUT is shorter than its descriptor says")
    return _Lut(np.asarray(data[:entries], dtype=np.float64), first, bits)


def _voi_lut(values: Values, item: Dataset, dataset: Dataset) -> tuple[Values, Window]:
    """Applies a VOI LUT; its whole output range becomes 0…1 (PS3.3 C.11.2.1.1)."""
    lut = _read_lut(item, dataset, _may_be_negative(dataset))
    window = Window(float(lut.first), float(lut.first + len(lut.table) - 1), "voi-lut")
    return np.clip(lut(values) / (2**lut.bits - 1), 0, 1), window


def _stored_window(dataset: Dataset) -> Window | None:
    """The file's first window (PS3.3 C.11.2.1.2, C.11.2.1.3); None if it shows no grays.

    Example: centre 500, width 200 is 400…599 for LINEAR, and 400…600 for LINEAR_EXACT and SIGMOID.
    A LINEAR width of 1 is a threshold and shows no grays.
    """
    centre, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    if text(dataset, "VOILUTFunction") not in {"LINEAR_EXACT", "SIGMOID"}:
        centre, width = centre - 0.5, width - 1
    return Window(centre - width / 2, centre + width / 2, "window") if width > 0 else None


def _padding(stored: npt.NDArray[Any], dataset: Dataset) -> Bools:
    """Which values are padding (PS3.3 C.7.5.1.1.2); none if that would be all of them."""
    value = _stored_number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = _stored_number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padding: Bools = (stored >= low) & (stored <= high)
    return np.zeros_like(padding) if padding.all() else padding


def _stored_number(dataset: Dataset, keyword: str) -> float | None:
    """A 16-bit stored value, signed if the pixels are, whatever VR the header gives it."""
    value = number(dataset, keyword)
    if value is None:
        return None
    value %= 2**16
    return value - 2**16 if is_signed(dataset) and value >= 2**15 else value


def _is_inverted(dataset: Dataset) -> bool:
    """Whether low stored values are shown bright (PS3.3 C.7.6.3.1.2, C.11.6)."""
    shape = text(dataset, "PresentationLUTShape")
    return shape == "INVERSE" or text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
