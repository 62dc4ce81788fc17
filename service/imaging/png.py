"""Walks a PNG's chunks before a decoder runs, to bound its work and to read its size.

Chunks are those of the W3C's PNG specification, section 5.3.
"""

from service.errors import ImageUndecodable

MAX_CHUNKS = 2**16
"""Chunks: each is a step of Pillow's reader."""
MAX_EXTRAS = 256
"""Chunks without pixels: Pillow inflates those that hold a profile or a text."""
_FIRST = 8
"""Offset of the first chunk."""


def size(data: bytes) -> tuple[int, int]:
    """Returns rows and columns of the IHDR chunk; Pillow waits for pixel data to give them."""
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def check_work(data: bytes) -> None:
    """Raises ImageUndecodable for a file that would keep Pillow's reader busy for far too long."""
    at, chunks, extras = _FIRST, 0, 0
    while at < len(data) and (kind := data[at + 4 : at + 8]) != b"IEND":
        chunks += 1
        extras += kind != b"IDAT"
        if chunks > MAX_CHUNKS or extras > MAX_EXTRAS:
            raise ImageUndecodable(
                f"The PNG has more than {MAX_CHUNKS} chunks, or more than {MAX_EXTRAS} without "
                "pixels. Save it again without metadata."
            )
        at += 12 + int.from_bytes(data[at : at + 4], "big")
