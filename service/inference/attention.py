"""Maps how similar each patch of an image is to a text.

Contrastive training rewards only the pooled embedding. Measure whether a bundle's patches point
at a finding before you show the map to a reader; the demo bundle's do not.
"""

import io

import numpy as np
from PIL import Image

from service.arrays import FloatArray, UInt8
from service.deadline import Deadline
from service.inference.encoder import Encoder

OVERLAY_SIDE = 512
"""Pixels on each side of the overlay."""
TINT = (255, 64, 0)
"""Red, green, blue of the overlay's tint."""


def attention(
    encoder: Encoder, image: bytes, text: str, deadline: Deadline
) -> tuple[UInt8, FloatArray]:
    """Returns the model's input uint8[H,W] and each patch's cosine with the text, float32[G,G].

    The grid covers the model's input, after the resizing and cropping of the bundle's ImageSpec.

    Raises PatchesUnavailable, TextInvalid, DeadlineExceeded, QueueFull, or the image's error.
    """
    pixels, patches = encoder.patches(image, deadline)
    (encoded,) = encoder.texts([text], deadline)
    return pixels, patches @ encoded.vector


def overlay(pixels: UInt8, grid: FloatArray) -> bytes:
    """Returns a PNG of the model's input, uint8[H, W], tinted where the map is above its median.

    The tint is strongest at the map's maximum.
    """
    low, high = float(np.median(grid)), float(grid.max())
    strength = np.clip((grid - low) / max(high - low, 1e-6), 0, 1)
    size = (OVERLAY_SIDE, OVERLAY_SIDE)
    base = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    mask = Image.fromarray((strength * 160).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    base.paste(TINT, mask=mask)
    png = io.BytesIO()
    base.save(png, format="PNG")
    return png.getvalue()
