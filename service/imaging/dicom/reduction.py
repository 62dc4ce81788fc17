"""Shrinks a DICOM's image to the pixels that the model needs, and says where those lie.

The file's words are decoded small where its codec can do that (JPEG 2000, HTJ2K, 8-bit JPEG).
Whatever is left of the factor, blocks of display values become their mean. So a window, a LUT and
padding act on each stored pixel, as they do without a reducing gap.
"""

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
)

from service.bundle.preprocess import Spans
from service.imaging.dicom.attributes import is_colour
from service.imaging.dicom.elements import is_given

TOLERANCE, LEAST_COSINE = 1.0, 0.999
"""Grey levels of 256 by which the model's input differs in the mean, at most, if a bundle has a
reducing gap of 2 or more; and the least cosine of the two embeddings. Measured for each transfer
syntax by `python -m tests.benchmarks.reducing_gap`."""
MOST = 64
"""The largest factor. More saves nothing, and sums of larger blocks leave 32 bits."""
_WAVELETS = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
_ROWS = 128
"""Rows that become means at a time, so that they stay in the cache; of 16 to 128 the fastest."""


def block_means(
    table: npt.NDArray[np.uint16], places: npt.NDArray[np.unsignedinteger], factor: int
) -> npt.NDArray[np.uint16]:
    """Returns the mean gray of each block of factor × factor pixels, uint16[rows, columns].

    table: the gray of each place. places: unsigned[rows, columns]. A block that the image's end
    cuts off is the mean of what it has.
    """
    if factor == 1:
        return _looked_up(table, places)
    rows, columns = (-(-side // factor) for side in places.shape)
    means = np.empty((rows, columns), np.uint16)
    strip = max(1, _ROWS // factor)
    grays = np.empty((strip * factor, places.shape[1]), table.dtype)
    across = _lengths(places.shape[1], factor)
    for top in range(0, rows, strip):
        part = places[top * factor : (top + strip) * factor]
        shown = grays[: len(part)]
        np.take(table, part, out=shown, mode="clip")  # every place is one: other modes copy `out`
        sums = _sums(_sums(shown.T, factor).T, factor)
        areas = np.outer(_lengths(len(part), factor), across)
        means[top : top + strip] = np.rint(sums / areas)
    return means


def may_suffice(dataset: Dataset) -> bool:
    """Decides by the header whether words of a smaller copy may be enough.

    The range of values, which is shown without a VOI LUT or window, is that of all words. So are
    colour's.
    """
    named = any(is_given(dataset, each) for each in ("VOILUTSequence", "WindowCenter"))
    return named and not is_colour(dataset)


def spans(
    pixels: tuple[int, ...], stored: tuple[int, int], dataset: Dataset, shrunk: int, blocks: int
) -> Spans:
    """Returns between which fractions of the pixels' rows and columns the stored image lies.

    pixels, stored: rows and columns of both. shrunk: by how much the codec shrank each side;
    blocks: then, the sides of the blocks of which the pixels are means.

    A block's mean lies in the middle of its block. A wavelet's low values lie on the first of the
    pixels that they replace (ITU-T T.800 F.3).
    """
    factor = shrunk * blocks
    wavelet = shrunk > 1 and dataset.file_meta.TransferSyntaxUID in _WAVELETS
    first = shrunk * (blocks - 1) / 2 + 0.5 if wavelet else factor / 2
    start = 0.5 - first / factor
    down, across = (
        (start / side, (start + whole / factor) / side)
        for side, whole in zip(pixels, stored, strict=True)
    )
    return down, across


def _looked_up(
    table: npt.NDArray[np.uint16], places: npt.NDArray[np.unsignedinteger]
) -> npt.NDArray[np.uint16]:
    found = np.empty(places.shape, table.dtype)
    for top in range(0, places.shape[0], _ROWS):
        part = slice(top, top + _ROWS)
        np.take(table, places[part], out=found[part], mode="clip")
    return found


def _sums(values: npt.NDArray[np.unsignedinteger], factor: int) -> npt.NDArray[np.uint32]:
    """The sums of so many neighbours along the last axis; the last may be of fewer."""
    sums = values[..., ::factor].astype(np.uint32)
    for start in range(1, factor):
        part = values[..., start::factor]
        sums[..., : part.shape[-1]] += part
    return sums


def _lengths(side: int, factor: int) -> npt.NDArray[np.int64]:
    """The lengths of the blocks into which a side is divided."""
    return np.minimum(factor, side - np.arange(0, side, factor))
