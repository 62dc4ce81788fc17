"""Walks a JPEG's markers before a decoder runs, to bound its work and to read its size.

Markers are those of ITU-T T.81 annex B, and of T.87 annex C for JPEG-LS.
"""

import re
from collections.abc import Iterator

from service.errors import ImageUndecodable, ImageUnsupported

MAX_SCANS = 100
"""Scans: in a progressive JPEG each is a pass over all pixels."""
MAX_SEGMENTS = 4096
"""Segments: each is a step of Pillow's reader."""
MAX_STUFFING = 2**16
"""Bytes between segments before the first scan: each is a step of Pillow's reader."""
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # without RSTn, which occurs inside scans
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_READABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
"""Sequential and progressive frames, with Huffman or arithmetic coding."""
_APP14 = 0xEE
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9


def check_work(data: bytes) -> None:
    """Raises ImageUndecodable for a file that would keep a decoder busy for far too long."""
    scans = stuffing = 0
    for segments, (marker, skipped, _) in enumerate(_segments(data), start=1):
        stuffing += 0 if scans else skipped
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS or segments > MAX_SEGMENTS or stuffing > MAX_STUFFING:
            raise ImageUndecodable(
                f"The JPEG has more than {MAX_SCANS} scans, {MAX_SEGMENTS} segments or "
                f"{MAX_STUFFING} bytes of stuffing. Save it again as a baseline JPEG."
            )


def check_readable(data: bytes) -> None:
    """Raises ImageUnsupported for a JPEG of a kind that Pillow does not read, or reads by guess.

    A file without a whole frame header passes, because its decoder reports it.
    """
    frame = next(((m, at) for m, _, at in _segments(data) if m in _FRAME_HEADERS), None)
    if frame is None or len(data) < frame[1] + 8:
        return
    marker, at = frame
    bits, components = data[at + 2], data[at + 7]
    if marker not in _READABLE:
        reason = "is lossless or hierarchical"
    elif bits != 8:
        reason = f"has {bits} bits a sample"
    elif components not in (1, 3, 4):
        reason = f"has {components} components"
    elif components == 4 and not _is_adobe(data):
        reason = "is in CMYK and does not say how (it lacks Adobe's marker)"
    else:
        return
    raise ImageUnsupported(f"The JPEG {reason}. Save it as a PNG, or as a baseline JPEG in gray.")


def _is_adobe(data: bytes) -> bool:
    return any(m == _APP14 and data[at + 2 : at + 7] == b"Adobe" for m, _, at in _segments(data))


def shape(data: bytes) -> tuple[int, int, int]:
    """Returns rows, columns and components of the frame header.

    Raises StopIteration if there is none.
    """
    at = next(at for marker, _, at in _segments(data) if marker in _FRAME_HEADERS)
    return (
        int.from_bytes(data[at + 3 : at + 5], "big"),
        int.from_bytes(data[at + 5 : at + 7], "big"),
        data[at + 7],
    )


def precision(data: bytes) -> int:
    """Returns the bits of a sample in the frame header.

    Raises StopIteration if there is none.
    """
    at = next(at for marker, _, at in _segments(data) if marker in _FRAME_HEADERS)
    return data[at + 2]


def is_dct(data: bytes) -> bool:
    """Decides whether the frame header is that of a sequential or progressive DCT frame.

    Raises StopIteration if there is none.
    """
    return next(marker for marker, _, _ in _segments(data) if marker in _FRAME_HEADERS) in _READABLE


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each segment's marker, the bytes skipped before it, and the offset of its length."""
    end = 2
    while found := _MARKER.search(data, end):
        at = found.end()
        marker = data[at - 1]
        if marker == _END_OF_IMAGE:
            return
        yield marker, found.start() - end, at
        end = at + int.from_bytes(data[at : at + 2], "big")
