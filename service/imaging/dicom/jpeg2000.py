"""Reads a JPEG 2000 header, and decodes a frame at a lower resolution (ITU-T T.800 A.5, B.5)."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageFile

from service.imaging.dicom.frame_header import FrameHeader

_START = b"\xff\x4f\xff\x51"
"""The markers SOC and SIZ, which begin a codestream; boxes may precede it."""
_CODING_STYLE, _START_OF_TILE, _END = 0xFF52, 0xFF90, 0xFFD9
_TILE_HEADER = 12
"""Bytes of the segment SOT, the least that a tile's part has."""
_NO_SPARE_BIT = (8, 16)
"""Depths at which values of HTJ2K that run over their range, at lower resolutions, are lost."""
_REVERSIBLE = 1
"""The wavelet transformation 5-3 (A.6.1)."""


def header(codec: str, frame: bytes) -> FrameHeader:
    """Returns what the segments SIZ and COD say.

    Lossy HTJ2K goes by the codec of JPEG 2000, which ends values at their range. In OpenJPH they
    wrap around also at full resolution: white would become black beside a hard edge.

    Raises ValueError, struct.error or IndexError for a frame without what is needed of them.
    """
    start = frame.index(_START)
    length, right, bottom, left, top, samples, depth, *steps = struct.unpack_from(
        ">H2x4I16xHBBB", frame, start + 4
    )
    signed, depth = depth >= 128, depth % 128 + 1
    halves = left == top == 0 and steps == [1, 1] and samples == 1 and depth <= 16
    levels, reversible = _coding_style(frame, start + 4 + length)
    if not reversible:
        codec = "jpeg-2000"
    if codec == "htj2k" and depth in _NO_SPARE_BIT:
        halves = False
    return FrameHeader(
        codec,
        bottom - top,
        right - left,
        samples,
        depth,
        signed=signed,
        levels=levels if halves else 0,
    )


def _coding_style(frame: bytes, at: int) -> tuple[int, bool]:
    """How often the wavelet transform halved the sides, and whether it can be undone exactly.

    at: where the segment after SIZ starts.
    """
    while (marker := int.from_bytes(frame[at : at + 2], "big")) != _CODING_STYLE:
        if not 0xFF00 < marker < _START_OF_TILE:
            raise ValueError("no coding style")
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return frame[at + 9], frame[at + 13] == _REVERSIBLE


def check_parts(frame: bytes) -> None:
    """Raises ValueError unless each part of a tile ends where the next or the end marker begins.

    OpenJPH does not notice what is missing within a part. Raises struct.error for a cut frame.
    """
    at = frame.index(_START) + 2
    marker, length = struct.unpack_from(">HH", frame, at)
    while marker < _START_OF_TILE:
        at += 2 + length
        marker, length = struct.unpack_from(">HH", frame, at)
    while marker == _START_OF_TILE:
        (length,) = struct.unpack_from(">L", frame, at + 6)
        if not length:  # the last part, which goes up to the end marker (A.4.2)
            return
        at += max(length, _TILE_HEADER)
        (marker,) = struct.unpack_from(">H", frame, at)
    if marker != _END:
        raise ValueError("a tile's part lacks bytes")


def reduced(header: FrameHeader, frame: bytes, level: int) -> npt.NDArray[Any]:
    """Returns the stored values [rows, columns] of one sample after so many halvings.

    Pillow spreads the values over 8 or 16 bits and moves signed ones up; both are undone.
    """
    with _Reduced(header, frame, level) as image:
        values = np.asarray(image)
    values = values >> (8 * values.itemsize - header.depth)
    if header.signed:
        values = values.astype(np.int32) - 2 ** (header.depth - 1)
    return values


class _Reduced(ImageFile.ImageFile):
    """A codestream of one sample at a lower resolution.

    Pillow's own plugin rounds the sides to the nearest, JPEG 2000 rounds them up; where they
    differ, Pillow cannot read the frame.
    """

    format = "JPEG2000"

    def __init__(self, header: FrameHeader, frame: bytes, level: int) -> None:
        self._header, self._level, self._length = header, level, len(frame)
        super().__init__(io.BytesIO(frame))

    def _open(self) -> None:
        rows, columns = self._header.shape(self._level)
        self._mode, self._size = "L" if self._header.depth <= 8 else "I;16", (columns, rows)
        arguments = "j2k", self._level, 0, -1, self._length
        self.tile = [ImageFile._Tile("jpeg2k", (0, 0, columns, rows), 0, arguments)]
