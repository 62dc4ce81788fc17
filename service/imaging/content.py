"""Looks at an image's colours and grey levels for signs that it is no radiograph.

No model is needed. The bounds were chosen on one half of 4,666 real radiographs, by patient; on
the other half no check finds anything (`python -m tests.benchmarks.gate`).
"""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from service.arrays import FloatArray, UInt8
from service.errors import ImageNotARadiograph
from service.imaging.radiograph import Doubt, Pixels, RadiographFacts

SAMPLED = 256
"""Pixels a side, at most, that are looked at."""
COLOURED = 12.0
"""Chroma levels beyond the image's own tint from which a pixel counts as coloured.

Smooth tints (blue film, sepia scans) and the colour noise of a JPEG stay below.
"""
MAX_COLOURED = 0.12
"""Fraction of coloured pixels; a coloured arrow, ruler and letters together take up to .07."""
MIN_LEVELS = 8
"""Grey levels that 99 % of the pixels have, at least; real radiographs have over 60."""
MAX_PLAIN, PLAIN, SHARP, MIN_SHARP = 0.3, 26, 64, 0.01
"""A page: one level of at least `PLAIN` on over `MAX_PLAIN` of the image, and at least `MIN_SHARP`
of all steps between neighbours over `SHARP` levels. Real radiographs reach .14, and .017 at most.
"""
COARSE = 32
"""Cells a side in which noise is looked for: averages over cells outlive the noise of exposure."""
MIN_KINSHIP = 0.2
"""Correlation of neighbouring cells; noise is near 0, and real radiographs are over .4."""


def require_radiographs(images: Iterable[RadiographFacts]) -> None:
    """Raises the refusal of the first image that has one."""
    for refused in filter(None, map(refusal, images)):
        raise refused


def refusal(image: RadiographFacts) -> ImageNotARadiograph | None:
    """Returns why neither findings nor reports may be made of the image; None if they may."""
    sure = [doubt.text for doubt in image.doubts if doubt.sure]
    return ImageNotARadiograph(sure[0]) if sure else None


def grey_doubts(pixels: Pixels) -> tuple[Doubt, ...]:
    """Returns what the grey levels say against display pixels [rows, columns], uint8 or uint16."""
    levels = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    return tuple(Doubt(text, sure=True) for text in _grey(levels))


def colour_doubts(image: Image.Image) -> tuple[Doubt, ...]:
    """Returns what the colours of a picture, before it becomes grey, say against it."""
    if image.mode.startswith(("1", "L", "I", "F")):
        return ()
    fraction = _coloured(image)
    if fraction <= MAX_COLOURED:
        return ()
    text = (
        f"The image is in colour: {fraction:.0%} of its pixels have a hue of their own. Send the "
        "radiograph itself, not a photograph or a colour map."
    )
    return (Doubt(text, sure=True),)


def _grey(levels: UInt8) -> Iterator[str]:
    step = max(1, max(levels.shape) // SAMPLED)
    sampled = levels[::step, ::step]
    shares = np.bincount(sampled.ravel(), minlength=256) / sampled.size
    used = int(np.searchsorted(np.sort(shares)[::-1].cumsum(), 0.99)) + 1
    if used < MIN_LEVELS:
        yield (
            f"Nearly all pixels have one of {used} grey levels. Send an exposed radiograph with "
            "all its grey levels."
        )
    plain = shares[PLAIN:].max()
    if plain > MAX_PLAIN and _sharp_steps(levels, step) >= MIN_SHARP:
        yield (
            f"One grey level fills {plain:.0%} of the image, between sharp edges, as on a page or "
            "a screen. Send the radiograph itself, not a screenshot or a document."
        )
    if _kinship(levels) < MIN_KINSHIP:
        yield (
            "Neighbouring parts of the image have nothing in common, as in noise. Send the "
            "radiograph's pixels as they were stored."
        )


def _sharp_steps(levels: UInt8, step: int) -> float:
    """Returns the larger fraction, along rows or columns, of steps over `SHARP` levels."""
    here = levels[:-1:step, :-1:step].astype(np.int16)
    beside, below = levels[:-1:step, 1::step], levels[1::step, :-1:step]
    return max(float((np.abs(other - here) > SHARP).mean()) for other in (beside, below))


def _kinship(levels: UInt8) -> float:
    """Returns the smaller correlation, along rows or columns, of neighbouring cells."""
    cells: FloatArray = np.asarray(
        Image.fromarray(levels).resize((COARSE, COARSE), Image.Resampling.BOX), np.float32
    )
    cells = cells - cells.mean()
    spread = float((cells**2).mean())
    if not spread:
        return 0.0
    beside, below = cells[:, 1:] * cells[:, :-1], cells[1:] * cells[:-1]
    return min(float(beside.mean()), float(below.mean())) / spread


def _coloured(image: Image.Image) -> float:
    """Returns the fraction of pixels whose colour does not follow from their brightness."""
    factor = min(1, SAMPLED / 2 / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    picked = image.resize(size, Image.Resampling.NEAREST).convert("RGB").convert("YCbCr")
    luma, *chroma = np.asarray(picked, np.float32).reshape(-1, 3).T / 255
    own = [each - np.polyval(np.polyfit(luma, each, 2), luma) for each in chroma]
    return float((np.hypot(*own) > COLOURED / 255).mean())
