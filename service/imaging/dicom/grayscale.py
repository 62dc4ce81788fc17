"""Turns stored values into display values: modality LUT → VOI LUT or window → polarity.

It follows PS3.3 C.11.1, C.11.2 and C.11.6 in the order of PS3.4 N.2. A VOI LUT or a window is used
only if it shows the image (`_shows`); otherwise the next is tried, and at last the range of values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.arrays import Bools
from service.imaging.dicom.bits import Bits, find_bits
from service.imaging.dicom.elements import is_given, text
from service.imaging.dicom.luts import Values, declared_bits, read_lut
from service.imaging.dicom.modality import Modality, read_modality
from service.imaging.dicom.padding import find_padding
from service.imaging.dicom.windows import Curve, stored_windows
from service.imaging.radiograph import Window

_LEAST_GRAY, _LEAST_SPAN = 0.05, 0.1
"""Share of the pixels that are neither black nor white, and of the range from black to white that
the grays span, below which a VOI LUT or window is taken to miss the image."""
_BLACK, _WHITE = 0.02, 0.98
_SAMPLE = 2**17
"""Pixels of which the shares are taken."""
_PART = 2**17
"""Pixels that are counted or looked up at a time; of 2^14 to 2^20 the fastest."""


@dataclass(frozen=True, slots=True)
class Display:
    """The display values uint16[rows, columns], bright = dense, and how they were made.

    window: the range of values that became black…white. inverted: low stored values were bright
    (MONOCHROME1) and have been turned over. corrections: what was read otherwise than declared.
    """

    pixels: npt.NDArray[np.uint16]
    window: Window
    inverted: bool
    corrections: list[str]


@dataclass(frozen=True, slots=True)
class _Rendering:
    """Display values 0…1 before polarity, the window that made them, and what to say of it."""

    shown: Values
    window: Window
    said: list[str]


def display(words: npt.NDArray[Any], claimed: Bits, dataset: Dataset) -> Display:
    """Returns the display values of an image; padding becomes black.

    words: unsigned[rows, columns], as they are stored. claimed: the bits that the header names.

    Raises ImageUndecodable for a rescale that is not finite and for a LUT that cannot be read.
    """
    codes, slots, places = _distinct(words)
    bits, said = find_bits(claimed, codes, words)
    stored = bits.values(codes)
    shares = _shares(places.ravel()[:: places.size // _SAMPLE | 1], slots)
    edge = np.concatenate([places[0], places[-1], places[:, 0], places[:, -1]])
    padding, of_padding = find_padding(dataset, bits, stored, shares, _shares(edge, slots) > 0)
    modality, of_modality = read_modality(dataset, bits, stored)
    rendering = _rendering(stored, shares, ~padding, modality, dataset)
    inverted, of_polarity = _polarity(dataset)
    shown = 1 - rendering.shown if inverted else rendering.shown
    shown[padding] = 0
    grays = np.zeros(slots[-1] + 1, np.uint16)
    grays[slots] = np.rint(shown * 65535)
    said = [*said, *of_padding, *of_modality, *rendering.said, *of_polarity]
    return Display(_looked_up(grays, places), rendering.window, inverted, said)


def _distinct(
    words: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp], npt.NDArray[Any]]:
    """The words that occur, the slot of each in a table, and the slot of each pixel.

    A pixel's gray depends on its word alone, so it is computed once for each word.
    Example: uint16 [7, 3, 3] → [3, 7], [3, 7], [7, 3, 3].
    """
    if words.itemsize > 2:
        codes, places = np.unique(words, return_inverse=True)
        return codes, np.arange(len(codes)), places
    counts = np.zeros(int(words.max()) + 1, np.intp)
    for part in _parts(words):
        counts += np.bincount(part, minlength=len(counts))
    slots = np.flatnonzero(counts)
    return slots.astype(words.dtype), slots, words


def _looked_up(table: npt.NDArray[np.uint16], places: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The table's entry for the slot of each pixel."""
    found = np.empty(places.shape, table.dtype)
    for part, out in zip(_parts(places), _parts(found), strict=True):
        np.take(table, part, out=out, mode="clip")  # every slot is one: other modes copy `out`
    return found


def _parts(pixels: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """All pixels in parts of `_PART`, which numpy widens to 64 bits without leaving the cache."""
    flat = pixels.reshape(-1)
    return [flat[start : start + _PART] for start in range(0, flat.size, _PART)]


def _shares(places: npt.NDArray[Any], slots: npt.NDArray[np.intp]) -> Values:
    """The share of some pixels that has each word."""
    counts: Values = np.bincount(places, minlength=slots[-1] + 1)[slots] / len(places)
    return counts


def _rendering(
    stored: npt.NDArray[np.int64],
    shares: Values,
    exposed: Bools,
    modality: Modality,
    dataset: Dataset,
) -> _Rendering:
    """The first of the header's renderings that shows the image, else the range of its values.

    shares, exposed: of each stored value, its share of the pixels, and that it is not padding.
    """
    values = modality(stored)
    inner = _inner(stored, exposed)
    named = 0
    for named, (name, rendering) in enumerate(_renderings(values, stored, modality, dataset), 1):
        if _shows(rendering.shown[inner], shares[inner]):
            if named > 1:
                rendering.said.append(
                    f"{name} was used: what the header names first shows almost no grays of this "
                    "image."
                )
            return rendering
    said = ["The range of values is shown: no VOI LUT or window of the header shows this image."]
    tried = named or any(is_given(dataset, each) for each in ("VOILUTSequence", "WindowCenter"))
    low, high = float(values[exposed].min()), float(values[exposed].max())
    shown = Curve(low, max(high, low + 1e-9), sigmoid=False)(values)
    return _Rendering(shown, Window(low, high, "value-range"), said if tried else [])


def _renderings(
    values: Values, stored: npt.NDArray[np.int64], modality: Modality, dataset: Dataset
) -> Iterator[tuple[str, _Rendering]]:
    """The VOI LUT, then each window; each also over values that its writer may have meant."""
    unscaled = stored.astype(np.float64)
    item = next(
        (each for each in dataset.get("VOILUTSequence") or [] if is_given(each, "LUTData")), None
    )
    if item is not None:
        signed = modality.may_be_negative
        yield "The VOI LUT", _voi_lut(values, item, dataset, signed=signed)
        yield (
            f"The VOI LUT with its first value as {'unsigned' if signed else 'signed'}",
            _voi_lut(values, item, dataset, signed=not signed),
        )
        if modality.changes:
            yield "The VOI LUT over stored values", _voi_lut(unscaled, item, dataset, signed=signed)
    curves = stored_windows(dataset)
    for number, curve in enumerate(curves, start=1):
        yield f"Window {number}", _Rendering(curve(values), curve.window, [])
    if modality.changes:
        for number, curve in enumerate(curves, start=1):
            name = f"Window {number}, over stored instead of rescaled values,"
            yield name, _Rendering(curve(unscaled), curve.window, [])


def _inner(stored: npt.NDArray[np.int64], exposed: Bools) -> Bools:
    """The exposed values but the lowest and the highest: borders, letters and saturated pixels."""
    low, high = stored[exposed].min(), stored[exposed].max()
    inner: Bools = exposed & (stored > low) & (stored < high)
    return inner if inner.any() else exposed


def _shows(shown: Values, shares: Values) -> bool:
    """Decides whether display values 0…1 with these shares of the pixels are an image."""
    grays = shares[(shown > _BLACK) & (shown < _WHITE)].sum()
    return bool(np.ptp(shown) >= _LEAST_SPAN and grays >= _LEAST_GRAY * shares.sum())


def _voi_lut(values: Values, item: Dataset, dataset: Dataset, *, signed: bool) -> _Rendering:
    """Applies a VOI LUT; its whole output range becomes 0…1 (PS3.3 C.11.2.1.1)."""
    lut, said = read_lut(item, dataset, "VOI LUT", signed=signed)
    declared = declared_bits(item, "VOI LUT")
    if lut.bits != declared:
        said.append(
            f"The VOI LUT's depth was taken from its entries ({lut.bits} bits); its descriptor "
            f"says {declared}."
        )
    window = Window(float(lut.first), float(lut.last), "voi-lut")
    return _Rendering(np.clip(lut(values) / (2**lut.bits - 1), 0, 1), window, said)


def _polarity(dataset: Dataset) -> tuple[bool, list[str]]:
    """Whether low values are shown bright (PS3.3 C.7.6.3.1.2, C.11.6), and what to say of it.

    PresentationLUTShape follows after everything else, so it decides over the photometric
    interpretation where the two contradict each other.
    """
    low_is_bright = text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = text(dataset, "PresentationLUTShape")
    if shape not in {"IDENTITY", "INVERSE"}:
        return low_is_bright, []
    inverse = shape == "INVERSE"
    said = f"PresentationLUTShape {shape} decided over PhotometricInterpretation."
    return inverse, [said] if inverse != low_is_bright else []
