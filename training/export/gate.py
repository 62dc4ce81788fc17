"""Fits a bundle's gate on its validation images, and measures it on images that are no chests."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import affine_transform
from sklearn.covariance import LedoitWolf

from service.arrays import FloatArray, UInt8
from service.bundle.gate import Gate, layout
from training.data.pairs import Levels
from training.export.strangers import TURNS, strangers

LEAST_IMAGES = 100
"""Validation images below which a bundle gets no gate."""
MOST_IMAGES = 1_000
"""Validation images, evenly spaced, that are used."""
VARIED = 2_400
"""Varied images, at least, that the gate is fitted on."""
MARGIN = 30.0
"""Least threshold. A score over 0 raises a doubt, and over this much the image is refused.

A gate that was fitted on phantoms gives at most 27 to 4,666 real radiographs
(`python -m tests.benchmarks.gate`).
"""
OWN = 0.99
"""Quantile of the validation images' scores that the threshold must not be below."""
SIDE = 64
"""Pixels a side at which images are varied."""
_Floats = npt.NDArray[np.floating[Any]]


def fit_gate(images: Levels) -> Gate | None:
    """Returns the gate of validation images uint8[N,H,W]; None if there are too few.

    It is fitted on one half of them and measured on the other.
    """
    if len(images) < LEAST_IMAGES:
        return None
    step = -(-len(images) // MOST_IMAGES)
    fitted, held = images[:: 2 * step], images[step :: 2 * step]
    known = LedoitWolf().fit(_layouts(varied(fitted)))
    gate = Gate.of(known.location_, known.precision_)
    own = _scores(gate, held)
    others = {kind: _scores(gate, [turn(each) for each in held]) for kind, turn in TURNS.items()}
    others |= {kind: _scores(gate, made) for kind, made in strangers().items()}
    return gate.measured(max(MARGIN, float(np.quantile(own, OWN))), own, others)


def varied(images: UInt8) -> list[UInt8]:
    """Returns images uint8[N,H,W] as other exposures and crops would show them, `VARIED` or more.

    Without this, all that is not exactly like the validation images would look strange.
    """
    random = np.random.default_rng(0)
    small = [np.asarray(Image.fromarray(each).resize((SIDE, SIDE))) for each in images]
    return [_vary(each, random) for each in small for _ in range(-(-VARIED // len(small)))]


def _vary(image: UInt8, random: np.random.Generator) -> UInt8:
    """Zooms, shifts, tilts, shades and frames an image uint8[SIDE,SIDE]."""
    levels = _moved(image, random)
    levels = 255 * (levels / 255) ** np.exp(random.uniform(np.log(0.5), np.log(2)))
    levels += _shade(random)
    if random.random() < 0.5:
        edge = np.rot90(levels, int(random.integers(0, 4)))
        edge[: int(random.integers(1, SIDE // 8))] = 0 if random.random() < 0.7 else 255
    shown: UInt8 = np.clip(levels, 0, 255).astype(np.uint8)
    return shown


def _moved(image: UInt8, random: np.random.Generator) -> _Floats:
    zoom, angle = 1 / random.uniform(0.75, 1.7), np.deg2rad(random.normal(0, 4))
    taller = zoom * random.uniform(0.9, 1.1)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = np.diag((zoom, taller)) @ tilt
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - turn @ centre + random.uniform(-0.1, 0.1, 2) * SIDE
    mode = "nearest" if random.random() < 0.5 else "constant"
    moved: _Floats = affine_transform(image.astype(np.float32), turn, offset, order=1, mode=mode)
    return moved


def _shade(random: np.random.Generator) -> _Floats:
    """A smooth change of brightness over the image, as of a rotated patient or a pathology."""
    across, down = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    shapes = np.stack([across, down, across * down, across**2 - 1 / 3, down**2 - 1 / 3])
    shade: _Floats = np.tensordot(random.normal(0, 15, 5), shapes, 1)
    return shade


def _layouts(images: list[UInt8]) -> FloatArray:
    return np.stack([layout(each).ravel() for each in images])


def _scores(gate: Gate, images: UInt8 | list[UInt8]) -> FloatArray:
    return np.array([gate.score(np.ascontiguousarray(each)) for each in images], np.float32)
