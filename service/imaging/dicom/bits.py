"""Finds the bits of each word that hold the stored value, and whether it is signed (PS3.5 8.1.1).

The header says so in BitsStored, HighBit and PixelRepresentation. The pixels can contradict it:

- Bits are used that the header leaves out. They hold an overlay, or a part of the value.
- The values run on across the end of the range, as −1 does that is read as 4095.

Between two readings the smoother one decides: where a reading is wrong, neighbouring pixels jump
by its whole range. Example: 14-bit pixels in a file that says 12 bits jump from 4095 to 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_ROWS = 24
"""Pairs of rows of which the smoothness is taken."""
_SMOOTHER = 0.5
"""Another reading replaces the header's if its roughness is less than this share of it."""
_NOISE = 0.3
"""Roughness, as a share of the range, that only low bits have by themselves: even noise of all
values has 0.67, a radiograph under 0.1, a very grainy one 0.25."""
_MARGIN, _DENSE, _AT_END = 64, 3, 0.005
"""Values of an image run on across the ends of the range if at each end one part in so many of it
has at least so many values and this share of the pixels; letters have fewer pixels."""


@dataclass(frozen=True, slots=True)
class Bits:
    """The stored value is `stored` bits from bit `shift` on, two's complement if `signed`."""

    shift: int
    stored: int
    signed: bool

    def values(self, words: npt.NDArray[Any]) -> Ints:
        """Returns the stored values of words that are read as unsigned."""
        values: Ints = (words.astype(np.int64) >> self.shift) & (2**self.stored - 1)
        if self.signed:
            values -= (values >> (self.stored - 1)) << self.stored
        return values


def find_bits(
    claimed: Bits, codes: npt.NDArray[Any], words: npt.NDArray[Any]
) -> tuple[Bits, list[str]]:
    """Returns where the value lies, and a sentence for each attribute that says otherwise.

    codes: the distinct words of the image. words: unsigned[rows, columns], the image.
    """
    width, used = 8 * words.itemsize, int(np.bitwise_or.reduce(codes))
    bits = _placed(claimed, used, width)
    if min(words.shape) > 1:
        sample = neighbours(words)
        others = [*_wider(bits, codes, used, width), *_turned(bits, codes, sample)]
        smoother = [each for each in others if _is_smoother(each, bits, sample)]
        if smoother:
            best = min(smoother, key=lambda each: _jumps(each, sample).mean() / 2**each.stored)
            bits = _lowered(best, bits, used, width)
    return bits, _said(claimed, bits)


def runs_on(bits: Bits, codes: npt.NDArray[Any], words: npt.NDArray[Any]) -> bool:
    """Decides whether pixels lie close to both ends of the range, as if the sign were wrong.

    bits, codes, words: as `find_bits` takes them.
    """
    return min(words.shape) > 1 and bool(_turned(bits, codes, neighbours(words)))


def neighbours(words: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns some rows and those below them, unsigned[2, n, columns]."""
    tops = np.unique(np.linspace(0, len(words) - 2, _ROWS).astype(int))
    return np.stack([words[tops], words[tops + 1]])


def _placed(claimed: Bits, used: int, width: int) -> Bits:
    """The header's reading, but at the end of the word that is used if the other one is empty.

    The bits that the header leaves out may hold an overlay, so they count only if none is empty.
    """
    spare = width - claimed.stored
    low, high = (Bits(shift, claimed.stored, claimed.signed) for shift in (0, spare))
    if claimed.shift == 0 and spare and used % 2**spare == 0 and used >> claimed.stored:
        return high if used >> claimed.stored == 2**spare - 1 else low
    fits = 0 <= claimed.shift <= spare
    skips = fits and used % 2**claimed.shift and used < 2**claimed.stored
    return claimed if fits and not skips else low


def _wider(bits: Bits, codes: npt.NDArray[Any], used: int, width: int) -> list[Bits]:
    """Readings of more bits, if those above BitsStored differ and do not just repeat the sign."""
    above = codes.astype(np.int64) >> (bits.shift + bits.stored)
    if bits.shift or above.min() == above.max():
        return []
    extended = Bits(0, bits.stored, signed=True)
    if np.array_equal(extended.values(codes), Bits(0, width, signed=True).values(codes)):
        return [] if bits.signed else [extended]
    return [Bits(0, used.bit_length(), signed) for signed in {False, bits.signed}]


def _turned(bits: Bits, codes: npt.NDArray[Any], sample: npt.NDArray[Any]) -> list[Bits]:
    """The reading of the other sign, if pixels lie close to both ends of the header's range."""
    low = -(2 ** (bits.stored - 1)) if bits.signed else 0
    margin = 2**bits.stored // _MARGIN
    values, pixels = bits.values(codes), bits.values(sample)
    for end in (low, low + 2**bits.stored - margin):
        near, share = (((each >= end) & (each < end + margin)) for each in (values, pixels))
        if len(np.unique(values[near])) < _DENSE or share.mean() < _AT_END:
            return []
    return [Bits(bits.shift, bits.stored, not bits.signed)]


def _lowered(best: Bits, bits: Bits, used: int, width: int) -> Bits:
    """The header's number of bits at the top of the word, if the best reading uses no others.

    Example: 12-bit values times 16 in words of 16 bits.
    """
    spare = width - bits.stored
    if best.stored <= bits.stored or used % 2**spare:
        return best
    return Bits(spare, bits.stored, bits.signed)


def _is_smoother(other: Bits, bits: Bits, sample: npt.NDArray[Any]) -> bool:
    """Decides between two readings by those neighbours whose difference depends on it.

    They are compared by differences, or by their share of the range in noise: where pixels differ
    by more than the header's range, all its differences are those of noise.
    """
    jumps, jumps_other = _jumps(bits, sample), _jumps(other, sample)
    depends = jumps != jumps_other
    if not depends.any():
        return False
    rough, rough_other = jumps[depends].mean(), jumps_other[depends].mean()
    share, share_other = rough / 2**bits.stored, rough_other / 2**other.stored
    return bool(rough_other < _SMOOTHER * rough or (share > _NOISE and share_other < share / 2))


def _jumps(bits: Bits, sample: npt.NDArray[Any]) -> Ints:
    """Differences of pixels that are next to each other."""
    values = bits.values(sample)
    across, down = np.diff(values, axis=2), np.diff(values, axis=0)
    jumps: Ints = np.abs(np.concatenate([across.ravel(), down.ravel()]))
    return jumps


def _said(claimed: Bits, bits: Bits) -> list[str]:
    said = []
    if bits.stored != claimed.stored:
        said.append(
            f"BitsStored was taken as {bits.stored}, which the pixels use; the header says "
            f"{claimed.stored}."
        )
    if bits.shift != claimed.shift and bits.stored == claimed.stored:
        high, said_high = (each.shift + each.stored - 1 for each in (bits, claimed))
        said.append(
            f"HighBit was taken as {high}, where the pixels lie; the header says {said_high}."
        )
    if bits.signed != claimed.signed:
        kinds = {True: "1 (signed)", False: "0 (unsigned)"}
        said.append(
            f"PixelRepresentation was taken as {kinds[bits.signed]}: the values run on across "
            "zero or the middle of their range."
        )
    return said
