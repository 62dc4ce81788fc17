"""Estimates from an image's header how much memory decoding it takes, before any pixel is decoded.

An estimate is for the whole way: the decoder's own buffers, the copies on the way to gray levels,
and preprocessing. It is high rather than low; a test measures every kind of file against it.
"""

from PIL import Image

_PICTURE = {"1": 6, "L": 6, "P": 6, "I;16": 11, "RGB": 10}
"""Mode of a PNG or JPEG → bytes a pixel. Gray of 16 bits takes most while it is resized."""
_OTHER_PICTURE = 12
"""Bytes a pixel of any other picture: with transparency, or in CMYK."""
_DEEP_COLOUR = 34
"""Bytes a pixel of a PNG with 16 bits for each of several channels."""
_SHOWN, _READ = 11, 9
"""Bytes a pixel of a DICOM file: while its gray levels are resized, and while it is read."""
_READ_COLOUR, _READ_WIDE = 16, 100
"""Bytes a pixel of a DICOM file in colour, and of one with 32 bits, while it is read."""
_FILES = 3
"""Copies of a DICOM file's pixels as they are stored."""
_PROCESS = 96 * 2**20
"""Bytes of the process that decodes some DICOM files, besides its pixels."""
_ALWAYS = 4 * 2**20
"""Bytes of any image: what does not depend on its size."""


def picture_bytes(image: Image.Image, pixels: int, *, deep_colour: bool) -> int:
    """Returns the estimate for an opened PNG or JPEG.

    pixels: of the image in square pixels, never fewer than are stored. deep_colour: whether it has
    16 bits for each of several channels.
    """
    opaque = _PICTURE.get(image.mode, _OTHER_PICTURE)
    each = max(opaque, _OTHER_PICTURE) if "transparency" in image.info else opaque
    return _ALWAYS + pixels * (_DEEP_COLOUR if deep_colour else each)


def dicom_bytes(pixels: int, file_bytes: int, *, samples: int, bits: int, apart: bool) -> int:
    """Returns the estimate for a DICOM file.

    pixels: as `picture_bytes`. samples, bits: SamplesPerPixel and BitsAllocated. apart: whether a
    process of its own decodes the file.
    """
    each = _READ_WIDE if bits > 16 else _READ_COLOUR if samples > 1 else _READ
    reading = each * pixels + _FILES * file_bytes + (_PROCESS if apart else 0)
    return _ALWAYS + max(_SHOWN * pixels, reading)
