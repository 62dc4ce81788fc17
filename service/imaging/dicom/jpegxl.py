"""Reads a JPEG XL frame's header (ISO/IEC 18181-1 annex D; boxes: 18181-2).

Numbers are packed from the lowest bit of each byte on. Images with a preview, an animation, extra
channels or floating point are refused: DICOM has none of these (supplement 232).
"""

import struct
from collections.abc import Iterator

from service.imaging.dicom.frame_header import FrameHeader

_CODESTREAM = b"\xff\x0a"
_HEADER = 64
"""Bytes in which the header lies."""
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Number of a ratio → width and height."""
_SIDE = ((9, 1), (13, 1), (18, 1), (30, 1))
_ENUM = ((0, 0), (0, 1), (4, 2), (6, 18))
_GRAY = 1


def header(frame: bytes) -> FrameHeader:
    """Returns what a frame says of itself.

    Raises ValueError, struct.error or StopIteration for one that is damaged or of another kind.
    """
    bits = _Bits(_start(frame))
    rows, columns = _size(bits)
    depth, gray = 8, False
    if not bits.flag():  # else all is by default: 8 bits, in colour
        if bits.flag():
            _skip_extra_fields(bits)
        depth = _depth(bits)
        bits.take(1)  # whether 16 bits are enough to decode
        if bits.choose(((0, 0), (0, 1), (4, 2), (12, 1))):
            raise ValueError("extra channels")
        bits.take(1)  # whether colours are those of XYB
        gray = not bits.flag() and _colour_space(bits) == _GRAY
    return FrameHeader("jpeg-xl", rows, columns, 1 if gray else 3, depth, rgb=True)


def _start(frame: bytes) -> bytes:
    """The first bytes of the codestream, which may lie in boxes."""
    start = frame if frame.startswith(_CODESTREAM) else b"".join(_parts(frame))
    if not start.startswith(_CODESTREAM):
        raise ValueError("no codestream")
    return start[2:_HEADER]


def _parts(frame: bytes) -> Iterator[bytes]:
    """The first bytes of each box that holds codestream, up to the first that is long enough."""
    at = 0
    while at + 8 <= len(frame):
        length, kind = struct.unpack_from(">L4s", frame, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", frame, start)
            start += 8
        if kind in {b"jxlc", b"jxlp"}:
            start += 4 * (kind == b"jxlp")  # the number of the part
            end = at + length if length else len(frame)
            yield frame[start : min(end, start + _HEADER)]
            if end - start >= _HEADER:
                return
        at += max(length, 8) if length else len(frame)


def _size(bits: "_Bits") -> tuple[int, int]:
    small = bits.flag()
    rows = 8 * (1 + bits.take(5)) if small else bits.choose(_SIDE)
    ratio = bits.take(3)
    if ratio:
        width, height = _RATIOS[ratio]
        return rows, rows * width // height
    return rows, 8 * (1 + bits.take(5)) if small else bits.choose(_SIDE)


def _skip_extra_fields(bits: "_Bits") -> None:
    bits.take(3)  # the orientation, which is not followed
    if bits.flag():
        _size(bits)  # in which it should be shown
    if bits.flag() or bits.flag():
        raise ValueError("a preview or an animation")


def _depth(bits: "_Bits") -> int:
    if bits.flag():
        raise ValueError("floating point")
    return bits.choose(((0, 8), (0, 10), (0, 12), (6, 1)))


def _colour_space(bits: "_Bits") -> int:
    bits.take(1)  # whether an ICC profile follows
    return bits.choose(_ENUM)


class _Bits:
    """Takes numbers off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._rest, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        """Returns the number in so many bits. Raises ValueError at the end."""
        value: int = self._rest & (2**count - 1)
        self._rest >>= count
        self._left -= count
        if self._left < 0:
            raise ValueError("the header is cut off")
        return value

    def flag(self) -> bool:
        return bool(self.take(1))

    def choose(self, kinds: tuple[tuple[int, int], ...]) -> int:
        """Returns a number whose first two bits choose its size in bits and its least value."""
        size, least = kinds[self.take(2)]
        return least + self.take(size)
