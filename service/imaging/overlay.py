"""Draws a map over the whole radiograph."""

import io

import numpy as np
from PIL import Image, ImageDraw

from service.arrays import FloatArray
from service.bundle.maps import upsampled
from service.bundle.preprocess import Rectangle
from service.imaging.radiograph import Radiograph, high_bytes

OVERLAY_SIDE = 1024
"""Pixels of the longer side of an overlay, at most."""
LEAST_SIDE = 512
"""Pixels of the longer side of an overlay, at least."""
TINT = (255, 64, 0)
"""Red, green, blue."""
STRONGEST = 160
"""Opacity of the tint at the map's maximum, of 255."""


def overlay(
    radiograph: Radiograph, part: Rectangle, grid: FloatArray, caption: str | None = None
) -> bytes:
    """Returns a PNG of the radiograph, tinted where the map is above its median.

    radiograph: reduced to `OVERLAY_SIDE`. part: what the map covers, in the radiograph's `rows`
    and `columns`; outside of it there is no tint. grid: float32[G, G]. caption: words to write
    into the picture.
    """
    base = _enlarged(Image.fromarray(high_bytes(radiograph.pixels)))
    across, down = base.width / radiograph.columns, base.height / radiograph.rows
    heat = upsampled(grid, round(part.height * down), round(part.width * across))
    tint = Image.new("L", base.size)
    tint.paste(_opacity(heat), (round(part.left * across), round(part.top * down)))
    picture = base.convert("RGB")
    picture.paste(TINT, mask=tint)
    if caption:
        ImageDraw.Draw(picture).text((8, 8), caption, TINT, font_size=base.width // 24)
    png = io.BytesIO()
    picture.save(png, format="PNG")
    return png.getvalue()


def _enlarged(image: Image.Image) -> Image.Image:
    factor = max(1, LEAST_SIDE / max(image.size))
    width, height = (round(side * factor) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _opacity(heat: FloatArray) -> Image.Image:
    """Nothing at the map's median and below, the strongest at its maximum."""
    low, high = float(np.median(heat)), float(heat.max())
    strength = np.clip((heat - low) / ((high - low) or 1), 0, 1)
    return Image.fromarray((strength * STRONGEST).astype(np.uint8))
