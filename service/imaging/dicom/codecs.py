"""Decodes one compressed frame into words, in this process or in a decoder process.

Nothing here knows DICOM, so that a decoder process loads neither pydicom nor the service. Each
codec of imagecodecs is loaded when its first frame comes.
"""

import io
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from service.imaging.dicom import jpeg2000
from service.imaging.dicom.frame_header import FrameHeader

Words = npt.NDArray[Any]


class FrameDamaged(Exception):
    """A codec refused a frame. Its text is the name of the codec's error, and no more."""


def decode(header: FrameHeader, frame: bytes, level: int = 0, words: Words | None = None) -> Words:
    """Returns the words of a frame, [rows, columns] or [rows, columns, samples].

    level: how often both sides are halved. words: where to write them.

    Raises FrameDamaged or MemoryError.
    """
    if words is None:
        words = np.empty(header.shape(level), header.dtype)
    try:
        _CODECS[header.codec](header, frame, level, words)
    except MemoryError:
        raise
    except Exception as error:
        raise FrameDamaged(type(error).__name__) from None
    return words


def _rle(header: FrameHeader, frame: bytes, level: int, words: Words) -> None:  # noqa: ARG001
    """Unpacks RLE (PS3.5 G).

    imagecodecs takes one sample a pixel, in segments that hold just the image.
    """
    buffer = words.view(np.uint8).reshape(-1).data
    if header.samples == 1:
        try:
            unpacked = imagecodecs.dicomrle_decode(frame, words.dtype, out=buffer)
            if len(unpacked) == len(buffer):
                return
        except (ValueError, RuntimeError):
            pass
    _unpack(header, frame, words)


def _unpack(header: FrameHeader, frame: bytes, words: Words) -> None:
    """Unpacks as many bytes of each segment as the image has; there may be more.

    Segments come plane by plane, most significant byte first. Runs may cross rows.
    """
    count, *offsets = struct.unpack_from("<16L", frame)
    bounds = [*offsets[:count], len(frame)]
    deep = words.dtype.itemsize
    samples = words.view(np.uint8).reshape(-1, header.samples, deep)
    planes = [
        samples[:, each, byte] for each in range(header.samples) for byte in range(deep)[::-1]
    ]
    for (start, end), plane in zip(pairwise(bounds), planes, strict=True):
        segment = memoryview(frame)[start:end]
        plane[:] = np.asarray(
            Image.frombytes("L", (plane.size, 1), segment, "packbits", "L")
        ).reshape(-1)


def _jpeg(header: FrameHeader, frame: bytes, level: int, words: Words) -> None:
    """Reads DCT JPEG of 8 or 12 bits and lossless JPEG."""
    if level:
        words[:] = _drafted(header, frame, level)
    else:
        imagecodecs.jpeg8_decode(frame, out=words)


def _drafted(header: FrameHeader, frame: bytes, level: int) -> Words:
    """Scales a DCT JPEG of 8 bits in the frequency domain, which is faster than decoding it."""
    with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
        image.draft("L", (header.columns >> level, header.rows >> level))
        return np.asarray(image)


def _jpeg_ls(header: FrameHeader, frame: bytes, level: int, words: Words) -> None:  # noqa: ARG001
    """Reads colour by pixel or by plane."""
    if header.samples == 1:
        imagecodecs.jpegls_decode(frame, out=words)
        return
    values = imagecodecs.jpegls_decode(frame)
    words[:] = values if values.shape == words.shape else np.moveaxis(values, 0, -1)


def _jpeg_2000(header: FrameHeader, frame: bytes, level: int, words: Words) -> None:
    if level:
        words[:] = jpeg2000.reduced(header, frame, level)
    else:
        imagecodecs.jpeg2k_decode(frame, numthreads=1, out=words)


def _htj2k(header: FrameHeader, frame: bytes, level: int, words: Words) -> None:
    """Ends values at their range: OpenJPH lets those below it come out as the highest."""
    imagecodecs.htj2k_decode(frame, skipres=level, out=words)
    low = -(2 ** (header.depth - 1)) if header.signed else 0
    values = words.view(words.dtype.str.replace("u", "i"))
    if level:
        np.clip(values, low, low + 2**header.depth - 1, out=values)


def _jpeg_xl(header: FrameHeader, frame: bytes, level: int, words: Words) -> None:  # noqa: ARG001
    imagecodecs.jpegxl_decode(frame, keeporientation=True, numthreads=1, out=words)


_CODECS: dict[str, Callable[[FrameHeader, bytes, int, Words], None]] = {
    "rle": _rle,
    "jpeg": _jpeg,
    "jpeg-ls": _jpeg_ls,
    "jpeg-2000": _jpeg_2000,
    "htj2k": _htj2k,
    "jpeg-xl": _jpeg_xl,
}
