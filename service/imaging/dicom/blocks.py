"""Looks up the gray of each pixel, or of blocks of pixels at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MOST = 64
"""Pixels of the largest block's side. More save nothing, and sums of larger ones leave 32 bits."""
_ROWS = 128
"""Rows that become means at a time, so that they stay in the cache; of 16 to 128 the fastest."""
_STRAIGHT = 64
"""Display values of 65,535 by which a table may leave a straight line and count as one. It is a
quarter of a level of 256."""
Places = npt.NDArray[Any]
Grays = npt.NDArray[np.uint16]


def means_of_blocks(table: Grays, places: Places, side: int) -> Grays:
    """Returns the mean gray of each block of side × side pixels, uint16[rows, columns].

    table: the gray of each place. places: unsigned[rows, columns]. A block that the image's end
    cuts off is the mean of what it has. Blocks of one pixel are exact, larger ones up to rounding
    and `_STRAIGHT`.
    """
    if side == 1:
        return _looked_up(table, places)
    shape = [-(-each // side) for each in places.shape]
    means = np.empty(shape, np.uint16)
    ramp = _ramp(table) if places.itemsize <= 2 else None
    strip = max(1, _ROWS // side)
    part = np.empty((strip * side, places.shape[1]), table.dtype if ramp is None else places.dtype)
    shares = 1 / _lengths(places.shape[1], side)
    for top in range(0, shape[0], strip):
        seen = places[top * side : (top + strip) * side]
        shown = part[: len(seen)]
        if ramp is None:
            np.take(table, seen, out=shown, mode="clip")  # other modes copy `out`
        else:
            np.clip(seen, ramp.low, ramp.high, out=shown)
        sums = _sums(_sums(shown.T, side).T, side)
        mean = sums * (shares / _lengths(len(seen), side)[:, np.newaxis])
        means[top : top + strip] = np.rint(mean if ramp is None else ramp(mean))
    return means


@dataclass(frozen=True, slots=True)
class _Ramp:
    """A table that is a straight line from one place to another, and level before and after.

    Such a line may follow the mean, in place of the other way round: that takes half the time.
    """

    low: int
    high: int
    first: float
    last: float

    def __call__(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Returns the grays of places between `low` and `high`."""
        return self.first + (places - self.low) * (self.last - self.first) / (self.high - self.low)


def _ramp(table: Grays) -> _Ramp | None:
    """Returns the ramp that a table is, if it is one; so is a linear window, either way up."""
    steps = np.flatnonzero(table[1:] != table[:-1])
    if not len(steps):
        return None
    low, high = int(steps[0]), int(steps[-1]) + 1
    ramp = _Ramp(low, high, float(table[low]), float(table[high]))
    away = np.abs(ramp(np.arange(low, high + 1.0)) - table[low : high + 1]).max()
    return ramp if away <= _STRAIGHT else None


def _looked_up(table: Grays, places: Places) -> Grays:
    found = np.empty(places.shape, table.dtype)
    for top in range(0, places.shape[0], _ROWS):
        part = slice(top, top + _ROWS)
        np.take(table, places[part], out=found[part], mode="clip")  # other modes copy `out`
    return found


def _sums(values: Places, side: int) -> npt.NDArray[np.uint32]:
    """The sums of so many neighbours along the last axis; the last may be of fewer."""
    sums: npt.NDArray[np.uint32] = values[..., ::side].astype(np.uint32)
    for start in range(1, side):
        part = values[..., start::side]
        sums[..., : part.shape[-1]] += part
    return sums


def _lengths(whole: int, side: int) -> npt.NDArray[np.int64]:
    """The lengths of the blocks into which a whole is divided."""
    return np.minimum(side, whole - np.arange(0, whole, side))
