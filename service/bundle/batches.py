"""Tests that an item in a batch gets the vector that it has on its own.

A graph whose batch mixes its rows gives a radiograph a vector that depends on other patients'.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from service.arrays import FloatArray, UInt8
from service.bundle.golden import golden_pixels
from service.bundle.preprocess import ImageSpec

Tower = Callable[[npt.NDArray[Any]], FloatArray]
"""Takes N items and returns their unit vectors, float32[N, D]."""
DEFAULT_BATCH = 8
"""Items: the largest batch, unless a setting says otherwise."""
TOLERANCE = 1e-5
"""Largest difference in any number of a unit vector.

Measured on a CPU in fp32: 0, for a ViT-B/16 and for both towers of the demo, these with one to
eight threads a call. In int8 it is 3e-3, since a batch shares one scale: so no call of int8 has
more than one item.
"""


def probe_pixels(spec: ImageSpec, count: int) -> UInt8:
    """Returns different images, uint8[count, H, W]: that of `golden_pixels`, then noise."""
    shape = (count - 1, spec.height, spec.width)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.concatenate([golden_pixels(spec), noise])


def probe_texts(text: str, count: int) -> list[str]:
    """Returns different texts: the given one, then numbered beginnings of it."""
    words = text.split() or [text]
    beginnings = (words[: 1 + at % len(words)] for at in range(1, count))
    return [text, *(" ".join([str(at), *said]) for at, said in enumerate(beginnings, start=1))]


def alone_and_gap(tower: Tower, items: npt.NDArray[Any]) -> tuple[FloatArray, float]:
    """Encodes N items in one batch; the first, the middle and the last also alone.

    Returns the first item's vector alone, float32[D], and the largest difference of any number in
    the three.
    """
    first = tower(items[:1])[0]
    if len(items) == 1:
        return first, 0.0
    together, rows = tower(items), [len(items) // 2, len(items) - 1]
    alone = np.stack([first, *(tower(items[row : row + 1])[0] for row in rows)])
    return first, float(np.abs(together[[0, *rows]] - alone).max())
