"""PNG's chunks, walked before a decoder runs (PNG 5.3)."""

from service.errors import ImageUndecodable

MAX_CHUNKS = 2**16
MAX_EXTRAS = 256
_FIRST = 8


def size(data: bytes) -> tuple[int, int]:
    """Rows and columns of the IHDR chunk, which Pillow gives only once it has seen pixel data."""
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def check_work(data: bytes) -> None:
    """Refuse what keeps Pillow's reader busy: it takes a step a chunk and inflates profiles."""
    at, chunks, extras = _FIRST, 0, 0
    while at < len(data) and (kind := data[at + 4 : at + 8]) != b"IEND":
        chunks += 1
        extras += kind != b"IDAT"
        if chunks > MAX_CHUNKS or extras > MAX_EXTRAS:
            raise ImageUndecodable(
                f"The PNG is no plain image: it has more than {MAX_CHUNKS} chunks, or more than "
                f"{MAX_EXTRAS} that hold no pixels. Save it again without metadata."
            )
        at += 12 + int.from_bytes(data[at : at + 4], "big")
