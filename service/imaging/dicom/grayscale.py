"""Turns stored values into display values: modality LUT → VOI LUT or window → polarity.

It follows PS3.3 C.11.1, C.11.2 and C.11.6 in the order of PS3.4 N.2. A VOI LUT or a window is used
only if it shows the image (`_shows`); otherwise the next is tried, and at last the range of values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from service.arrays import Bools
from service.imaging.dicom.bits import Bits, find_bits, neighbours, runs_on
from service.imaging.dicom.blocks import means_of_blocks
from service.imaging.dicom.elements import is_given
from service.imaging.dicom.extent import whole_range
from service.imaging.dicom.luts import Values, declared_bits, read_lut
from service.imaging.dicom.modality import Modality, read_modality
from service.imaging.dicom.padding import find_padding
from service.imaging.dicom.polarity import polarity
from service.imaging.dicom.table import Table, words_between_ends, words_that_occur
from service.imaging.dicom.windows import BLACK, WHITE, Curve, stored_windows
from service.imaging.radiograph import Extent, Window

_LEAST_GRAY, _LEAST_SPAN = 0.05, 0.1
"""Share of the pixels that are neither black nor white, and of the range from black to white that
the grays span, below which a VOI LUT or window is taken to miss the image."""
_NO_GRAY = 0.5 / 255
"""Display value that is still black in 8 bits."""
_STEEP = 0.5 / 255
"""Mean difference of display values, if four pixels are averaged before or after they are shown,
from which a smaller copy may not be used. Real radiographs have half of it with a window of nine
tenths of their pixels; from twice as much on, the model's input differs by over a level."""


@dataclass(frozen=True, slots=True)
class Display:
    """The display values uint16[rows, columns], bright = dense, and how they were made.

    window: the range of values that became black…white. inverted: low stored values were bright
    (MONOCHROME1) and have been turned over. corrections: what was read otherwise than declared.
    certain: whether they show what the whole image would, as `_is_certain` decides. padded: whether
    there is padding. extent: what the values hold, where they were not windowed.
    """

    pixels: npt.NDArray[np.uint16]
    window: Window
    inverted: bool
    corrections: list[str]
    certain: bool
    padded: bool
    extent: Extent | None


@dataclass(frozen=True, slots=True)
class _Shades:
    """The gray of each word, uint16[N]; the rest as in `Display`.

    declared: whether the header's bits and its first rendering are used.
    """

    grays: npt.NDArray[np.uint16]
    window: Window
    inverted: bool
    said: list[str]
    declared: bool
    certain: bool
    padded: bool
    extent: Extent | None


@dataclass(frozen=True, slots=True)
class _Rendering:
    """Display values 0…1 before polarity, the window that made them, and what to say of it.

    missed: how many of the header's renderings do not show the image.
    """

    shown: Values
    window: Window
    said: list[str]
    missed: int = 0


def display(
    words: npt.NDArray[Any],
    claimed: Bits,
    dataset: Dataset,
    factor: int = 1,
    *,
    smaller: bool = False,
    windowed: bool = True,
) -> Display:
    """Returns the display values of an image; padding becomes black.

    words: unsigned[rows, columns], as they are stored. claimed: the bits that the header names.
    factor: each block of factor × factor pixels becomes its mean. smaller: whether the words are a
    smaller copy of the image. windowed: whether they are shown as the file says, and not over the
    whole range of values.

    Raises ImageUndecodable for a rescale that is not finite and for a LUT that cannot be read.
    """
    plain = _is_plain(words, claimed, dataset)
    table = words_between_ends(words) if plain else words_that_occur(words)
    shades = _shades(table, words, claimed, dataset, smaller=smaller, windowed=windowed)
    if not (table.complete or shades.declared):
        table = words_that_occur(words)
        shades = _shades(table, words, claimed, dataset, smaller=smaller, windowed=windowed)
    return Display(
        pixels=means_of_blocks(table.by_place(shades.grays), table.places, factor),
        window=shades.window,
        inverted=shades.inverted,
        corrections=shades.said,
        certain=shades.certain,
        padded=shades.padded,
        extent=shades.extent,
    )


def _is_plain(words: npt.NDArray[Any], claimed: Bits, dataset: Dataset) -> bool:
    """Decides whether a table of words that may not occur can be enough.

    It is enough if `_shades` then finds the image as declared. Bits are read otherwise only for
    words that do occur, and what shows a sample of an image shows the image.
    """
    if any(is_given(dataset, each) for each in ("PixelPaddingValue", "ModalityLUTSequence")):
        return False
    low_bits = claimed.shift == 0 and not claimed.signed and words.itemsize <= 2
    return low_bits and int(words.max()) < 2**claimed.stored


def _shades(
    table: Table,
    words: npt.NDArray[Any],
    claimed: Bits,
    dataset: Dataset,
    *,
    smaller: bool,
    windowed: bool,
) -> _Shades:
    """Decides how an image is shown."""
    bits, said = find_bits(claimed, table.codes, words)
    stored = bits.values(table.codes)
    padding, of_padding = find_padding(dataset, bits, stored, table.shares, table.at_edge)
    modality, of_modality = read_modality(dataset, bits, stored)
    exposed = table.occurs & ~padding
    rendering = _rendering(stored, table.shares, exposed, modality, dataset)
    inverted, of_polarity = polarity(dataset)
    shown = 1 - rendering.shown if inverted else rendering.shown
    declared = bits == claimed and not rendering.missed
    certain = not smaller or (
        declared
        and rendering.window.source != "value-range"
        and not of_padding
        and bool((shown[padding] <= _NO_GRAY).all())
        and _is_certain(table.codes, words, bits, shown)
    )
    extent = None
    if not windowed:
        values, window = modality(stored), rendering.window
        shown, extent = whole_range(values, exposed, shown, window, inverted=inverted)
    shown[padding] = 0
    return _Shades(
        grays=np.rint(shown * 65535).astype(np.uint16),
        window=rendering.window,
        inverted=inverted,
        said=[*said, *of_padding, *of_modality, *rendering.said, *of_polarity],
        declared=declared,
        certain=certain,
        padded=bool(padding.any()),
        extent=extent,
    )


def _is_certain(
    codes: npt.NDArray[Any], words: npt.NDArray[Any], bits: Bits, shown: Values
) -> bool:
    """Decides whether a smaller copy shows what the whole image would.

    Its bits must hold all values, with none near both ends as if the sign were wrong. And the
    display values must be so smooth that it hardly matters that the copy was made before.

    shown: the display value of each code.
    """
    if min(words.shape) < 2 or not _are_in_range(codes, bits) or runs_on(bits, codes, words):
        return False
    stored = bits.values(codes)
    order = np.argsort(stored)
    even = words.shape[1] // 2 * 2
    squares = bits.values(neighbours(words)[:, :, :even]).reshape(2, -1, 2)
    before = np.interp(squares.mean((0, 2)), stored[order], shown[order])
    after = np.interp(squares, stored[order], shown[order]).mean((0, 2))
    return bool(np.abs(before - after).mean() <= _STEEP)


def _are_in_range(codes: npt.NDArray[Any], bits: Bits) -> bool:
    """Decides whether the bits hold whole words; what a codec smooths may overshoot them."""
    word = Bits(0, 8 * codes.itemsize, bits.signed)
    return np.array_equal(bits.values(codes), word.values(codes))


def _rendering(
    stored: npt.NDArray[np.int64],
    shares: Values,
    exposed: Bools,
    modality: Modality,
    dataset: Dataset,
) -> _Rendering:
    """The first of the header's renderings that shows the image, else the range of its values.

    shares, exposed: of each stored value, its share of the pixels, and that it occurs and is not
    padding.
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
            return replace(rendering, missed=named - 1)
    said = ["The range of values is shown: no VOI LUT or window of the header shows this image."]
    tried = named or any(is_given(dataset, each) for each in ("VOILUTSequence", "WindowCenter"))
    low, high = float(values[exposed].min()), float(values[exposed].max())
    shown = Curve(low, max(high, low + 1e-9), sigmoid=False)(values)
    return _Rendering(shown, Window(low, high, "value-range"), said if tried else [], named)


def _renderings(
    values: Values, stored: npt.NDArray[np.int64], modality: Modality, dataset: Dataset
) -> Iterator[tuple[str, _Rendering]]:
    """The VOI LUT, then each window; each also over values that its writer may have meant."""
    unscaled = stored.astype(np.float64)
    items = [each for each in dataset.get("VOILUTSequence") or [] if is_given(each, "LUTData")]
    for item in items[:1]:
        signed = modality.may_be_negative
        first = _voi_lut(values, item, dataset, signed=signed)
        first.said.extend(_first_of_several("VOI LUT", items))
        yield "The VOI LUT", first
        yield (
            f"The VOI LUT with its first value as {'unsigned' if signed else 'signed'}",
            _voi_lut(values, item, dataset, signed=not signed),
        )
        if modality.changes:
            yield "The VOI LUT over stored values", _voi_lut(unscaled, item, dataset, signed=signed)
    curves = stored_windows(dataset)
    for number, curve in enumerate(curves, start=1):
        said = _first_of_several("window", curves) if number == 1 else []
        yield f"Window {number}", _Rendering(curve(values), curve.window, said)
    if modality.changes:
        for number, curve in enumerate(curves, start=1):
            name = f"Window {number}, over stored instead of rescaled values,"
            yield name, _Rendering(curve(unscaled), curve.window, [])


def _first_of_several(name: str, alternatives: Sequence[object]) -> list[str]:
    """What to say where the header leaves the choice to a reader (PS3.3 C.11.2.1.1)."""
    return [f"The first {name} was used: the header has several."] if alternatives[1:] else []


def _inner(stored: npt.NDArray[np.int64], exposed: Bools) -> Bools:
    """The exposed values but the lowest and the highest: borders, letters and saturated pixels."""
    low, high = stored[exposed].min(), stored[exposed].max()
    inner: Bools = exposed & (stored > low) & (stored < high)
    return inner if inner.any() else exposed


def _shows(shown: Values, shares: Values) -> bool:
    """Decides whether display values 0…1 with these shares of the pixels are an image."""
    grays = shares[(shown > BLACK) & (shown < WHITE)].sum()
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
