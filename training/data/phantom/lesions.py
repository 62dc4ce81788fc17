"""Draws what each finding does to the film."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.phantom.anatomy import Chest
from training.data.phantom.canvas import Array, Frame, Mask, inside
from training.data.phantom.findings import SEVERITIES, SIDES, PhantomFinding


@dataclass(frozen=True)
class Lesion:
    """What a finding adds to the density, and the fraction of vessels that stay visible."""

    density: Array
    mask: Mask | None
    vessels: Array | None = None


def _strength(finding: PhantomFinding) -> float:
    return {"mild": 0.8, "moderate": 1.0, "severe": 1.2}[finding.severity]


def _patch(chest: Chest, finding: PhantomFinding, rng: np.random.Generator, ragged: float) -> Array:
    """Distance into a ragged ellipse: 1 at its centre, 0 on its rim."""
    radius = chest.frame.disc(finding.u, finding.v, finding.reach_u, finding.reach_v)
    return 1.0 - radius + ragged * chest.frame.texture(rng, 14)


def _consolidation(
    chest: Chest, finding: PhantomFinding, rng: np.random.Generator, contrast: float
) -> Lesion:
    """A fuzzy patch, mottled, with dark bronchi running through it."""
    patch = inside(_patch(chest, finding, rng, 0.22), 0.28)
    mottle = 1.0 + 0.16 * chest.frame.texture(rng, 30)
    bronchi = _bronchi(chest.frame, finding, rng)
    fill = patch * mottle * (1.0 - np.minimum(bronchi, 0.4))
    density = 0.25 * contrast * _strength(finding) * chest.air * fill
    return Lesion(density, _mask(patch, chest), 1.0 - 0.7 * patch)


def _bronchi(frame: Frame, finding: PhantomFinding, rng: np.random.Generator) -> Array:
    """Air-filled bronchi that fork away from the hilum."""
    angle = np.arctan2(finding.v - 0.43, finding.u) + rng.normal(0.0, 0.2)
    fork = np.array([finding.u, finding.v]) - 0.03 * np.array([np.cos(angle), np.sin(angle)])
    density = np.zeros_like(frame.u)
    for turn, length in ((np.pi, 0.035), (-0.45, 0.08), (0.35, 0.085)):
        end = fork + length * np.array([np.cos(angle + turn), np.sin(angle + turn)])
        density += frame.line(np.stack([fork, end]), 0.0035, 0.5)
    return density


def _nodule(
    chest: Chest, finding: PhantomFinding, rng: np.random.Generator, contrast: float
) -> Lesion:
    """A round, well-defined opacity."""
    ball = inside(_patch(chest, finding, rng, 0.05), 0.2)
    return Lesion(0.24 * contrast * _strength(finding) * chest.air * ball, _mask(ball, chest))


def _atelectasis(
    chest: Chest, finding: PhantomFinding, rng: np.random.Generator, contrast: float
) -> Lesion:
    """Plates: two or three roughly horizontal bands, in a little haze of lost volume."""
    slope = finding.side * rng.uniform(-0.1, 0.35)
    t = np.linspace(-1.0, 1.0, 9)
    bands = np.zeros_like(chest.air)
    for offset in np.linspace(-0.55, 0.55, int(rng.integers(2, 4))):
        length = finding.reach_u * rng.uniform(0.75, 1.0)
        rise = slope * t * length + 0.15 * length * t**2
        path = np.stack([finding.u + t * length, finding.v + offset * finding.reach_v + rise], 1)
        bands += chest.frame.line(path, 0.009, 1.0)
    haze = inside(_patch(chest, finding, rng, 0.1), 0.3)
    density = contrast * _strength(finding) * chest.air * (0.21 * np.minimum(bands, 1.2))
    return Lesion(density + 0.04 * contrast * chest.air * haze, _mask(haze, chest))


def _fibrosis(
    chest: Chest, finding: PhantomFinding, rng: np.random.Generator, contrast: float
) -> Lesion:
    """A reticular net: the zero crossings of a fine texture."""
    patch = inside(_patch(chest, finding, rng, 0.15), 0.3)
    net = sum(np.exp(-((chest.frame.texture(rng, cells) / 0.4) ** 2)) for cells in (40, 58))
    fill = patch * (0.15 * net + 0.02)
    return Lesion(contrast * _strength(finding) * chest.air * fill, _mask(patch, chest))


def _effusion(
    chest: Chest, finding: PhantomFinding, _rng: np.random.Generator, contrast: float
) -> Lesion:
    """Fluid that climbs the lateral wall as a meniscus and blunts the costophrenic angle."""
    frame, shape = chest.frame, chest.shape
    out = np.clip((np.abs(frame.u) - 0.06) / (shape.cage - 0.06), 0.0, 1.1)
    level = finding.v + 0.04 - 0.17 * out**4
    fluid = inside(frame.v - level, 0.018) * (frame.u * finding.side > 0.0)
    density = min(0.44, 0.38 * contrast * _strength(finding)) * chest.air * fluid
    return Lesion(density, _mask(fluid, chest), 1.0 - fluid)


def _pneumothorax(
    chest: Chest, finding: PhantomFinding, _rng: np.random.Generator, contrast: float
) -> Lesion:
    """A dark apical crescent without vessels, bounded by the white visceral pleura."""
    frame, shape = chest.frame, chest.shape
    gap = 0.07 + 0.025 * SEVERITIES.index(finding.severity)
    taper = np.clip((0.50 - frame.v) / 0.2, 0.0, 1.0)
    r = np.abs(frame.u)
    inset = 0.75 * gap * taper * (3.0 - 2.0 * taper) * taper
    drop = 0.9 * gap
    collapsed = np.minimum(shape.lateral(frame.v, drop, inset) - r, r - shape.medial(frame.v, drop))
    collapsed = np.minimum(collapsed, 0.6 * (frame.v - shape.apex - drop))
    beside = (frame.u * finding.side > 0.0) & (frame.v < 0.5)
    crescent = inside(-collapsed, 0.006) * beside * chest.lungs
    pleura = np.exp(-0.5 * (collapsed / np.hypot(0.004, frame.blur)) ** 2) * beside * chest.air
    pleura *= 0.004 / np.hypot(0.004, frame.blur) * (taper > 0.0)
    density = contrast * (0.16 * pleura - 0.10 * _strength(finding) * crescent * chest.air)
    return Lesion(density, _mask(crescent, chest), 1.0 - crescent)


def _cardiomegaly(
    chest: Chest, _finding: PhantomFinding, _rng: np.random.Generator, _contrast: float
) -> Lesion:
    """Adds nothing: the silhouette was drawn wide."""
    return Lesion(np.zeros_like(chest.air), None)


def _edema(
    chest: Chest, finding: PhantomFinding, rng: np.random.Generator, _contrast: float
) -> Lesion:
    """Bilateral perihilar haze, with septal lines at the bases."""
    frame = chest.frame
    wings = np.array([[-0.15, 0.44], [0.15, 0.43], [-0.17, 0.56], [0.18, 0.55]])
    haze = frame.dots(wings, 0.09, 0.13) * (1.0 + 0.15 * frame.texture(rng, 18))
    septa = np.zeros_like(haze)
    for side in SIDES.values():
        for v in rng.uniform(0.60, 0.75, 5):
            outer = np.array([side * (chest.shape.cage - 0.008), v])
            septa += frame.line(np.stack([outer, outer - [side * 0.035, 0.0]]), 0.003, 0.09)
    return Lesion(_strength(finding) * chest.air * (haze + septa + 0.02), None)


def _mask(shape: Array, chest: Chest) -> Mask:
    return (shape > 0.5) & (chest.air > 0.5)


LESIONS: dict[str, Callable[[Chest, PhantomFinding, np.random.Generator, float], Lesion]] = {
    "atelectasis": _atelectasis,
    "cardiomegaly": _cardiomegaly,
    "consolidation": _consolidation,
    "fibrosis": _fibrosis,
    "nodule": _nodule,
    "pleural effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "pulmonary edema": _edema,
}
"""Label → (chest, finding, rng, contrast) → lesion."""
