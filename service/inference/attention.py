"""Where in the image a text is found: patch–text similarity maps.

Contrastive training rewards the pooled embedding alone: whether a bundle's patches point at a
finding is to be measured before a reader is shown the map (in the demo bundle they do not).
"""

import io

import numpy as np
from PIL import Image

from service.arrays import FloatArray, UInt8
from service.deadline import Deadline
from service.inference.encoder import Encoder

OVERLAY_SIDE = 512
TINT = (255, 64, 0)


def attention(
    encoder: Encoder, image: bytes, text: str, deadline: Deadline
) -> tuple[UInt8, FloatArray]:
    """Returns the model's input uint8[H,W] and each patch's cosine with the text, float32[G,G].

    The grid covers the model's input, after the resizing and cropping of the bundle's ImageSpec.
    """
    pixels, patches = encoder.patches(image, deadline)
    (encoded,) = encoder.texts([text], deadline)
    return pixels, patches @ encoded.vector


def overlay(pixels: UInt8, grid: FloatArray) -> bytes:
    """PNG of the model's input uint8[H,W] with the map's upper half tinted, scaled to its range."""
    low, high = float(np.median(grid)), float(grid.max())
    strength = np.clip((grid - low) / max(high - low, 1e-6), 0, 1)
    size = (OVERLAY_SIDE, OVERLAY_SIDE)
    base = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    mask = Image.fromarray((strength * 160).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    base.paste(TINT, mask=mask)
    png = io.BytesIO()
    base.save(png, format="PNG")
    return png.getvalue()
