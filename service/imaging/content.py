"""Looks at an image's colours and grey levels for signs that it is no radiograph.

No model is needed. The bounds leave room around 4,666 real radiographs, in which no check finds
anything (`python -m tests.benchmarks.gate`). What is found is a `Doubt`: the image is still decoded
and may be embedded, but neither findings nor reports are made of it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from service.arrays import FloatArray, UInt8
from service.bundle.field import CELLS, exposed_cells
from service.errors import ImageNotARadiograph
from service.imaging.radiograph import Doubt, Pixels, RadiographFacts, high_bytes

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
DARK, MAX_GROUND = 0.12, 0.55
"""The ground is what is dark, up to this part of the range of grey, as seen from an edge of the
exposed field. It fills up to .52 of real chest radiographs.
"""
MIN_KINSHIP = 0.2
"""Correlation of neighbouring blocks of four cells; real radiographs are over .4, noise near 0."""


def refusal(views: Sequence[RadiographFacts]) -> ImageNotARadiograph | None:
    """Returns why neither findings nor a report may be made of a study; None if they may."""
    always = [_texts(view, "always") for view in views]
    alone = [_texts(view, "alone") for view in views]
    reasons = [text for texts in [*always, *(alone if all(alone) else [])] for text in texts]
    return ImageNotARadiograph(reasons[0]) if reasons else None


def require_radiographs(views: Sequence[RadiographFacts]) -> None:
    """Raises the study's refusal, if it has one."""
    if (refused := refusal(views)) is not None:
        raise refused


def grey_doubts(pixels: Pixels, *, names_chest: bool = False) -> tuple[Doubt, ...]:
    """Returns what the grey levels say against display pixels [rows, columns], uint8 or uint16.

    names_chest: whether the file's header does. Then only pages and masks are refused.
    """
    levels = high_bytes(pixels)
    return (
        *(Doubt(text, "always") for text in _artificial(levels)),
        *(Doubt(text, "never" if names_chest else "always") for text in _shapeless(levels)),
    )


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
    return (Doubt(text, "always"),)


def _texts(view: RadiographFacts, refuses: str) -> list[str]:
    return [doubt.text for doubt in view.doubts if doubt.refuses == refuses]


def _artificial(levels: UInt8) -> Iterator[str]:
    """Says what looks drawn or written."""
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


def _shapeless(levels: UInt8) -> Iterator[str]:
    """Says what does not fill the exposed field as a chest does."""
    cells = exposed_cells(levels)
    if (ground := _ground(cells)) > MAX_GROUND:
        yield (
            f"A dark ground fills {ground:.0%} of the image, as around a hand or a leg. Send a "
            "chest radiograph, cropped to the body."
        )
    if _kinship(cells) < MIN_KINSHIP:
        yield (
            "Neighbouring parts of the image have nothing in common, as in noise. Send the "
            "radiograph's pixels as they were stored."
        )


def _sharp_steps(levels: UInt8, step: int) -> float:
    """Returns the larger fraction, along rows or columns, of steps over `SHARP` levels."""
    here = levels[:-1:step, :-1:step].astype(np.int16)
    beside, below = levels[:-1:step, 1::step], levels[1::step, :-1:step]
    return max(float((np.abs(other - here) > SHARP).mean()) for other in (beside, below))


def _ground(cells: FloatArray) -> float:
    """Returns the fraction of dark cells between which and an edge no bright one lies."""
    low, high = np.quantile(cells, [0.02, 0.98])
    dark = cells <= low + DARK * (high - low)
    sides = [np.rot90(dark, turn) for turn in range(4)]
    seen = [np.logical_and.accumulate(side) for side in sides]
    ground = np.logical_or.reduce([np.rot90(s, -turn) for turn, s in enumerate(seen)])
    return float(ground.mean())


def _kinship(cells: FloatArray) -> float:
    """Returns the smaller correlation, along rows or columns, of neighbouring blocks of cells."""
    blocks = cells.reshape(CELLS // 2, 2, CELLS // 2, 2).mean(axis=(1, 3))
    blocks -= blocks.mean()
    spread = float((blocks**2).mean())
    if not spread:
        return 0.0
    beside, below = blocks[:, 1:] * blocks[:, :-1], blocks[1:] * blocks[:-1]
    return min(float(beside.mean()), float(below.mean())) / spread


def _coloured(image: Image.Image) -> float:
    """Returns the fraction of pixels whose colour does not follow from their brightness."""
    factor = min(1, SAMPLED / 2 / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    picked = _seen(image.resize(size, Image.Resampling.NEAREST)).convert("YCbCr")
    luma, *chroma = np.asarray(picked, np.float32).reshape(-1, 3).T / 255
    tint = np.stack([np.ones_like(luma), luma, luma**2], axis=1)
    own = [each - tint @ np.linalg.lstsq(tint, each)[0] for each in chroma]
    return float((np.hypot(*own) > COLOURED / 255).mean())


def _seen(image: Image.Image) -> Image.Image:
    """Returns the picture in RGB, on black where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    black = Image.new("RGBA", image.size, "black")
    return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
