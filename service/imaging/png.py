"""Walks a PNG's chunks before a decoder runs, and reads what Pillow leaves out.

Chunks are those of the W3C's PNG specification, section 5.3.
"""

import io
import zlib
from collections.abc import Iterator

from PIL import Image, ImageFile, ImageOps

from service.errors import ImageUndecodable

MAX_CHUNKS = 2**16
"""Chunks: each is a step of Pillow's reader."""
MAX_EXTRAS = 256
"""Chunks without pixels: Pillow inflates those that hold a profile or a text."""
_INFLATED = 2**20
"""Bytes that are inflated at a time."""
_FIRST = 8
"""Offset of the first chunk."""
_LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
"""How Pillow reads colour of 16 bits: the upper bytes → the lower ones, or all four of LA."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type → samples of a pixel."""
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
          (1, 0, 2, 1))  # fmt: skip
"""Passes of an interlaced image: first row and column, steps of rows and columns."""


def size(data: bytes) -> tuple[int, int]:
    """Returns rows and columns of the IHDR chunk; Pillow waits for pixel data to give them.

    Raises ImageUndecodable where another chunk is the first, as in Apple's own kind of PNG.
    """
    if data[12:16] != b"IHDR":
        raise ImageUndecodable("The PNG does not begin with its header (IHDR). Save it again.")
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def check_work(data: bytes) -> None:
    """Raises ImageUndecodable for a file that would keep Pillow's reader busy for far too long."""
    extras = 0
    for chunks, (kind, _) in enumerate(_chunks(data), start=1):
        extras += kind != b"IDAT"
        if chunks > MAX_CHUNKS or extras > MAX_EXTRAS:
            raise ImageUndecodable(
                f"The PNG has more than {MAX_CHUNKS} chunks, or more than {MAX_EXTRAS} without "
                "pixels. Save it again without metadata."
            )


def check_complete(data: bytes, image: Image.Image) -> None:
    """Raises ImageUndecodable if rows are missing at the end; Pillow shows them black.

    Pixels are inflated a second time, but only where the last row is black.
    """
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if not image.info.get("interlace") and last_row.getbbox(alpha_only=False):
        return
    missing = _bytes_of_pixels(data)
    inflate = zlib.decompressobj()
    for kind, content in _chunks(data):
        compressed: bytes | memoryview = content if kind == b"IDAT" else b""
        while compressed and missing > 0:
            missing -= len(inflate.decompress(compressed, _INFLATED))
            compressed = inflate.unconsumed_tail
    if missing > 0:
        raise ImageUndecodable("The PNG ends before its last row. Send it again.")


def has_lower_bytes(image: ImageFile.ImageFile) -> bool:
    """Returns whether an opened PNG has lower bytes that `lower_bytes` reads."""
    return any(tile.args in _LOWER for tile in image.tile)


def lower_bytes(data: bytes) -> Image.Image | None:
    """Returns the lower bytes of each 16-bit sample, upright; None for an image without colour.

    Pillow reads the upper bytes only of colour with 16 bits, and of gray with transparency. So a
    radiograph of 12 bits would lose all but four. The image has the mode that Pillow gives it: RGB
    or RGBA.
    """
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    layout = image.tile[0].args
    if layout not in _LOWER:
        return None
    image.tile = [image.tile[0]._replace(args=_LOWER[layout])]
    ImageOps.exif_transpose(image, in_place=True)
    if layout == "LA;16B":
        _, gray, _, alpha = image.split()
        return Image.merge("RGBA", (gray, gray, gray, alpha))
    return image


def scale_transparency(data: bytes, image: Image.Image) -> None:
    """Scales the transparent gray of 2 or 4 bits as Pillow scales the pixels, but not this."""
    bits, colour = data[24], data[25]
    if colour == 0 and bits in (2, 4) and "transparency" in image.info:
        image.info["transparency"] *= 255 // (2**bits - 1)


def _bytes_of_pixels(data: bytes) -> int:
    """Bytes of all rows, each with its filter's, when they are inflated."""
    rows, columns = size(data)
    bits, colour, interlaced = data[24], data[25], data[28]
    total = 0
    for top, left, down, right in _ADAM7 if interlaced else _WHOLE:
        high, wide = -(-(rows - top) // down), -(-(columns - left) // right)
        if high > 0 and wide > 0:
            total += high * (1 + -(-wide * _SAMPLES[colour] * bits // 8))
    return total


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Each chunk's type and content, up to the end of the image."""
    at, view = _FIRST, memoryview(data)
    while at < len(data) and (kind := data[at + 4 : at + 8]) != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        yield kind, view[at + 8 : end]
        at = end + 4
