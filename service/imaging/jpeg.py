"""JPEG's markers, walked before a decoder runs (ITU-T T.81 annex B; T.87 annex C for JPEG-LS)."""

import re
from collections.abc import Iterator

from service.errors import ImageUndecodable

MAX_SCANS = 100
MAX_SEGMENTS = 4096
MAX_STUFFING = 2**16
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # none that may stand inside a scan: RSTn
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9


def check_work(data: bytes) -> None:
    """Refuse what keeps a decoder busy out of all proportion to its size.

    Each scan of a progressive JPEG is a pass over all pixels; each segment, and each byte of
    stuffing before the first scan, is a step of Pillow's reader.
    """
    scans = stuffing = 0
    for segments, (marker, skipped, _) in enumerate(_segments(data), start=1):
        stuffing += 0 if scans else skipped
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS or segments > MAX_SEGMENTS or stuffing > MAX_STUFFING:
            raise ImageUndecodable(
                f"The JPEG is no plain image: it has more than {MAX_SCANS} scans, "
                f"{MAX_SEGMENTS} segments or {MAX_STUFFING} bytes of stuffing. Save it again as "
                "a baseline JPEG."
            )


def shape(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and components that the frame header declares; StopIteration without one."""
    at = next(at for marker, _, at in _segments(data) if marker in _FRAME_HEADERS)
    return (
        int.from_bytes(data[at + 3 : at + 5], "big"),
        int.from_bytes(data[at + 5 : at + 7], "big"),
        data[at + 7],
    )


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each segment its marker, the bytes skipped before it, and where its length stands."""
    end = 2
    while found := _MARKER.search(data, end):
        at = found.end()
        marker = data[at - 1]
        if marker == _END_OF_IMAGE:
            return
        yield marker, found.start() - end, at
        end = at + int.from_bytes(data[at : at + 2], "big")
