"""Writes PNG files of every colour type and depth, and reckons their grays, without Pillow."""

import struct
import zlib
from itertools import starmap

import numpy as np

from tests.service.imaging.conftest import png_chunk

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1))  # fmt: skip
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
LUMA = np.array([0.299, 0.587, 0.114])
TURNS = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: np.rot90,
}
"""EXIF orientation → what shows the image upright."""


def png(
    samples: np.ndarray,
    bits: int,
    colour: int,
    *chunks: tuple[bytes, bytes],
    interlaced: bool = False,
    after: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """A PNG of samples [rows, columns, channels], `chunks` before its pixels and `after` them."""
    rows, columns = samples.shape[:2]
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, interlaced)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b"".join(
        filtered(packed(line, bits), max(samples.shape[2] * bits // 8, 1))
        for top, left, down, right in passes
        for line in samples[top::down, left::right]
        if line.size
    )
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(starmap(png_chunk, parts))


def packed(line: np.ndarray, bits: int) -> np.ndarray:
    """Samples of one row → its bytes, the most significant bits first."""
    if bits == 16:
        return line.astype(">u2").ravel().view(np.uint8)
    if bits == 8:
        return line.astype(np.uint8).ravel()
    digits = np.unpackbits(line.astype(np.uint8).reshape(-1, 1), axis=1)[:, -bits:]
    return np.packbits(digits.ravel())


def filtered(line: np.ndarray, step: int) -> bytes:
    """A row with the filter Sub: each byte less the one of the pixel to its left."""
    left = np.concatenate([np.zeros(step, np.uint8), line[:-step]])
    return b"\1" + (line - left).tobytes()


def exif(orientation: int) -> tuple[bytes, bytes]:
    return b"eXIf", b"MM\0\x2a\0\0\0\x08" + struct.pack(
        ">HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0
    )


def density(across: int, down: int, unit: int) -> tuple[bytes, bytes]:
    return b"pHYs", struct.pack(">IIB", across, down, unit)


def reckoned(colours: np.ndarray, opacity: np.ndarray, stretched: bool) -> np.ndarray:
    """Colours 0…1 [rows, columns, 1 or 3] on black → grays 0…1."""
    gray = colours @ LUMA if colours.shape[2] == 3 else colours[..., 0]
    if stretched:
        seen = gray[opacity > 0]
        gray = (gray.clip(seen.min(), seen.max()) - seen.min()) / (seen.max() - seen.min())
    return gray * opacity


def doubled(values: np.ndarray, axis: int) -> np.ndarray:
    """Twice as many values along an axis, each between its two nearest (3:1)."""
    before = np.delete(np.insert(values, 0, values.take(0, axis), axis), -1, axis)
    after = np.delete(np.insert(values, values.shape[axis], values.take(-1, axis), axis), 0, axis)
    pairs = np.stack([3 * values + before, 3 * values + after], axis=axis + 1) / 4
    shape = list(values.shape)
    shape[axis] *= 2
    return pairs.reshape(shape)
