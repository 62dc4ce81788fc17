"""Lists an image's words, so that a gray is computed once for each word, not for each pixel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.arrays import Bools

_SAMPLE = 2**17
"""Pixels of which the shares are taken."""
_PART = 2**17
"""Pixels that are counted at a time; of 2^14 to 2^20 the fastest."""
_FEW = 16
"""Words below which an image's sample does not stand for it."""
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """The N words of an image.

    codes: unsigned[N]. slots: the place of each in a table of grays. places: that of each pixel,
    unsigned[rows, columns]. shares: the share of the pixels that each has, of a sample of them.
    occurs: which of them are known to occur. complete: whether that is known of all.

    Example: uint16 [7, 3, 3] → codes [3, 7], slots [3, 7], places [7, 3, 3].
    """

    codes: npt.NDArray[Any]
    slots: npt.NDArray[np.intp]
    places: npt.NDArray[Any]
    shares: Shares
    occurs: Bools
    complete: bool

    @property
    def at_edge(self) -> Bools:
        """Whether each word occurs at the edge of the image."""
        places = self.places
        edge = np.concatenate([places[0], places[-1], places[:, 0], places[:, -1]])
        return _shares(edge, self.slots) > 0

    def by_place(self, grays: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        """Returns grays by place, from those of the codes, uint16[N]; others are never used."""
        by_place = np.full(self.slots[-1] + 1, grays[0])
        by_place[self.slots] = grays
        return by_place


def words_that_occur(words: npt.NDArray[Any]) -> Table:
    """Returns the table of all words that occur."""
    if words.itemsize > 2:
        codes, places = np.unique(words, return_inverse=True)
        return _table(codes, np.arange(len(codes)), places)
    counts = np.zeros(int(words.max()) + 1, np.intp)
    flat = words.reshape(-1)
    for start in range(0, flat.size, _PART):  # numpy widens a part to 64 bits inside of the cache
        counts += np.bincount(flat[start : start + _PART], minlength=len(counts))
    slots = np.flatnonzero(counts)
    return _table(slots.astype(words.dtype), slots, words)


def words_between_ends(words: npt.NDArray[Any]) -> Table:
    """Returns the table of all words between the lowest and the highest one.

    Which of them occur is known of those two and of a sample only. That takes a fifth of the time.

    words: uint8 or uint16. An image of few words gets the table of `words_that_occur`.
    """
    slots = np.arange(int(words.min()), int(words.max()) + 1)
    shares = _sampled_shares(words, slots)
    occurs = shares > 0
    occurs[[0, -1]] = True
    if np.count_nonzero(occurs) < _FEW:
        return words_that_occur(words)
    return Table(slots.astype(words.dtype), slots, words, shares, occurs, complete=False)


def _table(codes: npt.NDArray[Any], slots: npt.NDArray[np.intp], places: npt.NDArray[Any]) -> Table:
    shares = _sampled_shares(places, slots)
    return Table(codes, slots, places, shares, np.ones(len(codes), dtype=bool), complete=True)


def _sampled_shares(places: npt.NDArray[Any], slots: npt.NDArray[np.intp]) -> Shares:
    return _shares(places.ravel()[:: places.size // _SAMPLE | 1], slots)


def _shares(places: npt.NDArray[Any], slots: npt.NDArray[np.intp]) -> Shares:
    """The share of some pixels that has each word."""
    counts: Shares = np.bincount(places, minlength=slots[-1] + 1)[slots] / len(places)
    return counts
