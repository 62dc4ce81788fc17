"""Estimates from an image's header how much memory decoding it takes, before any pixel is decoded.

An estimate is for the whole way: the decoder's own buffers, the copies on the way to gray levels,
and preprocessing. It is high rather than low; a test measures every kind of file against it.
"""

from PIL import Image

_PICTURE = {"1": 6, "L": 6, "P": 6, "I;16": 9, "RGB": 10, "LA": 11, "RGBA": 11}
"""Mode of a PNG or JPEG → bytes a pixel."""
_OTHER = 13
"""Bytes a pixel of one in CMYK, or with a single transparent colour."""
_DEEP_COLOUR = 32
"""Bytes a pixel of a PNG with 16 bits for each of several channels."""
_STRETCHED = 12
"""Bytes a pixel, at least, of an image whose pixels are made square."""
_DICOM, _DICOM_COLOUR, _DICOM_WIDE = 6, 14, 100
"""Bytes a pixel of a DICOM file; of one in colour; of one with 32 bits."""
_COPIES = 3
"""Copies of a DICOM file's compressed pixels, besides the file. Others are copied once."""
_PROCESS = 96 * 2**20
"""Bytes of a decoder process, which has Python, numpy and codecs."""
_PROCESS_SAMPLE, _PROCESS_WIDE, _PROCESS_COPIES = 8, 12, 3
"""Bytes that it takes for each sample; for each of over 16 bits; copies of the frame."""
_ALWAYS = 4 * 2**20
"""Bytes of any image: what does not depend on its size."""


def picture_bytes(image: Image.Image, pixels: int, *, deep_colour: bool) -> int:
    """Returns the estimate for an opened PNG or JPEG.

    pixels: of the image in square pixels, never fewer than are stored. deep_colour: whether it has
    16 bits for each of several channels.
    """
    each = _OTHER if "transparency" in image.info else _PICTURE.get(image.mode, _OTHER)
    if deep_colour:
        each = _DEEP_COLOUR
    return _ALWAYS + pixels * _at_least(each, stored=image.width * image.height, pixels=pixels)


def dicom_bytes(
    pixels: int,
    stored: int,
    file_bytes: int,
    *,
    samples: int,
    bits: int,
    compressed: bool,
    apart: bool,
) -> int:
    """Returns the estimate for a DICOM file.

    pixels: as `picture_bytes`. stored: rows by columns as they are stored. samples:
    SamplesPerPixel. bits: of a word. compressed: whether the pixels are. apart: whether a decoder
    process reads them.
    """
    each = _DICOM_WIDE if bits > 16 else _DICOM_COLOUR if samples > 1 else _DICOM
    size = pixels * _at_least(each, stored=stored, pixels=pixels)
    process = process_bytes(stored * samples, file_bytes, bits=bits) if apart else 0
    return _ALWAYS + size + (_COPIES if compressed else 1) * file_bytes + process


def process_bytes(samples: int, frame_bytes: int, *, bits: int) -> int:
    """Returns the estimate for a decoder process, with the words that it gives back.

    samples: of the frame. frame_bytes: its compressed size. bits: of a word.
    """
    each = _PROCESS_WIDE if bits > 16 else _PROCESS_SAMPLE
    return _PROCESS + each * samples + _PROCESS_COPIES * frame_bytes


def _at_least(each: int, *, stored: int, pixels: int) -> int:
    return each if pixels == stored else max(each, _STRETCHED)
