"""Draws the anatomy of a chest, layer by layer."""

from dataclasses import dataclass

import numpy as np

from training.data.phantom.canvas import Array, Frame, curve, inside
from training.data.phantom.findings import SEVERITIES, SIDES, PhantomFinding


@dataclass(frozen=True)
class Shape:
    """The drawn proportions of a thorax, in body coordinates."""

    apex: float
    cage: float
    dome_right: float
    dome_left: float
    heart: float
    shoulder: float
    bone: float

    def lateral(self, v: Array, apex: float = 0.0, inset: Array | float = 0.0) -> Array:
        """Returns half the width of the pleural space at height v, apex lowered, wall inset."""
        rise = np.clip((0.66 - v) / (0.66 - self.apex - apex), 0.0, 1.0)
        return np.asarray(
            0.125 + (self.cage - 0.125 - inset) * np.sqrt(1.0 - rise**2 * np.sqrt(rise))
        )

    def medial(self, v: Array, apex: float = 0.0) -> Array:
        """Returns the distance of the medial pleura from the midline."""
        rise = np.clip((0.66 - v) / (0.66 - self.apex - apex), 0.0, 1.0)
        return np.asarray(0.125 - 0.085 * np.sqrt(1.0 - (rise**2) ** 2 * rise**2))

    def floor(self, u: Array) -> Array:
        """Returns the height of the diaphragm: a dome that falls to the costophrenic angle."""
        dome = np.where(u < 0.0, self.dome_right, self.dome_left)
        out = (np.abs(u) - 0.15) / (self.cage - 0.15)
        return np.asarray(dome + np.where(out > 0.0, 0.12 * out**2, 0.03 * out**2))

    def depth(self, frame: Frame) -> Array:
        """Returns the signed distance into the pleural space from its walls."""
        r = np.abs(frame.u)
        walls = np.minimum(self.lateral(frame.v) - r, r - self.medial(frame.v))
        apex = 0.6 * (frame.v - self.apex)
        return np.minimum(np.minimum(walls, apex), self.floor(frame.u) - frame.v)


@dataclass(frozen=True)
class Chest:
    """Layers of a chest, each float64[H, W] and in [0, 1] unless said otherwise.

    lungs: the pleural spaces; air: the part of them that heart and mediastinum do not cover;
    silhouette: heart and mediastinum; bones and vessels: density.
    """

    frame: Frame
    shape: Shape
    outline: Array
    lungs: Array
    air: Array
    silhouette: Array
    bones: Array
    vessels: Array
    tissue: Array


def draw_chest(
    frame: Frame, rng: np.random.Generator, findings: tuple[PhantomFinding, ...]
) -> Chest:
    """Draws a chest. A large heart and full vessels are part of it, not lesions on top."""
    grades = {finding.label: SEVERITIES.index(finding.severity) for finding in findings}
    enlarged = grades.get("cardiomegaly")
    congested = grades.get("pulmonary edema")
    dome = rng.uniform(0.70, 0.745)
    shape = Shape(
        apex=rng.uniform(0.105, 0.13),
        cage=rng.uniform(0.325, 0.35),
        dome_right=dome,
        dome_left=dome + rng.uniform(0.02, 0.045),
        heart=rng.uniform(0.92, 1.06) * (1.0 if enlarged is None else (1.32, 1.45, 1.6)[enlarged]),
        shoulder=rng.uniform(0.40, 0.46),
        bone=rng.uniform(0.75, 1.25),
    )
    lungs = inside(shape.depth(frame), 0.008)
    silhouette = _silhouette(frame, shape, rng)
    congestion = 1.0 if congested is None else 1.1 + 0.1 * congested
    return Chest(
        frame=frame,
        shape=shape,
        outline=_outline(frame, shape),
        lungs=lungs,
        air=lungs * (1.0 - silhouette),
        silhouette=silhouette,
        bones=_bones(frame, shape, rng),
        vessels=congestion * _vessels(frame, rng),
        tissue=_tissue(frame, shape, rng),
    )


def _outline(frame: Frame, shape: Shape) -> Array:
    """Neck, shoulders and flanks against the dark air outside."""
    wide = shape.shoulder
    contour = np.array(
        [
            [-0.2, 0.10], [0.0, 0.105], [0.05, 0.15], [0.075, 0.30], [0.12, wide],
            [0.20, wide + 0.04], [0.36, wide + 0.02], [0.55, wide - 0.02], [0.80, wide - 0.01],
            [1.2, wide + 0.02],
        ]
    )  # fmt: skip
    heights, widths = curve(contour).T
    return inside(np.interp(frame.v, heights, widths) - np.abs(frame.u), 0.01)


def _silhouette(frame: Frame, shape: Shape, rng: np.random.Generator) -> Array:
    """Heart, great vessels and superior mediastinum."""
    heart, sway = shape.heart, rng.normal(0.0, 0.006, 4)
    left_ventricle = (0.05 * heart, 0.655, 0.163 * heart, 0.080 + 0.022 * heart, 0.66)
    right_atrium = (-0.025 * heart, 0.635 + sway[1], 0.068 * heart, 0.135, 0.0)
    aortic_knob = (0.048 + sway[2], 0.295, 0.044, 0.045, 0.0)
    pulmonary_trunk = (0.04 + sway[3], 0.43, 0.05, 0.10, -0.3)
    edges = [0.05 + sway[0] + 0.15 * np.clip(0.25 - frame.v, 0.0, 0.2) - np.abs(frame.u)]
    for ellipse in (left_ventricle, right_atrium, aortic_knob, pulmonary_trunk):
        edges.append((1.0 - frame.disc(*ellipse)) * min(ellipse[2:4]))
    return inside(_blend(edges, 0.012), 0.009)


def _blend(edges: list[Array], radius: float) -> Array:
    """Union of shapes by signed distance, its inner corners filleted."""
    top = np.maximum.reduce(edges)
    return np.asarray(top + radius * np.log(sum(np.exp((edge - top) / radius) for edge in edges)))


def _bones(frame: Frame, shape: Shape, rng: np.random.Generator) -> Array:
    """Ribs, clavicles, shoulders and spine."""
    return shape.bone * (
        _ribs(frame, shape, rng)
        + _clavicles(frame, rng)
        + _shoulders(frame, shape)
        + _spine(frame, rng)
    )


def _ribs(frame: Frame, shape: Shape, rng: np.random.Generator) -> Array:
    """Posterior ribs arch over the lung, anterior ribs hang below: two periodic warps of v."""
    r = np.abs(frame.u)
    wall = shape.lateral(frame.v) + 0.018
    arch = np.sqrt(np.clip(1.0 - (r / wall) ** 2, 0.0, 1.0))
    cage = inside(wall - r, 0.008) * inside(frame.v - shape.apex, 0.02)
    pitch = rng.uniform(0.076, 0.086)
    start = rng.uniform(0.0, 1.0)
    posterior = _bands((frame.v + 0.10 * arch - 0.08 * r) / pitch + start)
    anterior = _bands((frame.v - 0.10 * arch + 0.34 * r) / (1.12 * pitch) + start)
    reach = inside(r - 0.13, 0.03)
    fade = inside(0.86 - frame.v, 0.08)
    return fade * cage * (0.095 * posterior + 0.05 * reach * anterior)


def _bands(phase: Array) -> Array:
    """Bright bands a period of the phase, a third of it wide, with brighter cortical edges."""
    wave = np.cos(2.0 * np.pi * phase)
    band = inside(wave - 0.35, 0.25)
    return np.asarray(band * (1.0 - 0.3 * (np.clip(wave, 0.0, 1.0) ** 2) ** 2))


def _clavicles(frame: Frame, rng: np.random.Generator) -> Array:
    sag = rng.normal(0.0, 0.008)
    path = np.array([[0.03, 0.205], [0.08, 0.20], [0.16, 0.17 + sag], [0.26, 0.13], [0.37, 0.11]])
    smooth = curve(path)
    return sum(
        (frame.line(smooth * [side, 1.0], 0.0105, 0.16) for side in SIDES.values()),
        start=np.zeros_like(frame.u),
    )


def _shoulders(frame: Frame, shape: Shape) -> Array:
    """Humeral heads, and the scapulae beside the lungs."""
    density = np.zeros_like(frame.u)
    for side in SIDES.values():
        head = frame.disc(side * shape.shoulder, 0.135, 0.045, 0.045)
        blade = np.array([[0.37, 0.16], [0.345, 0.24], [0.355, 0.33], [0.38, 0.40]])
        density += 0.09 * inside(1.0 - head, 0.25)
        density += frame.line(curve(blade) * [side, 1.0], 0.014, 0.05)
    return density


def _spine(frame: Frame, rng: np.random.Generator) -> Array:
    """Vertebral bodies parted by discs, with spinous processes on the midline."""
    discs = np.cos(2.0 * np.pi * (frame.v / 0.058 + rng.random()))
    column = inside(0.036 - np.abs(frame.u), 0.008)
    process = np.exp(-0.5 * (frame.u / 0.006) ** 2) * inside(-discs - 0.3, 0.4)
    return column * (0.035 + 0.018 * discs) + 0.015 * process


def _vessels(frame: Frame, rng: np.random.Generator) -> Array:
    """Pulmonary vessels that branch from both hila and taper towards the pleura."""
    points, widths, weights = [], [], []
    for side in SIDES.values():
        tip = np.tile([side * 0.07, 0.435 - 0.012 * side], (5, 1))
        angle = np.linspace(-1.3, 1.4, 5) + rng.normal(0.0, 0.16, 5)
        width = 0.0085
        for length in (0.075, 0.062, 0.055, 0.045):
            bend = rng.normal(0.0, 0.25, len(angle))
            t = np.linspace(1.0 / 6.0, 1.0, 6)[:, None]
            heading = angle + bend * t
            reach = t * length * rng.uniform(0.75, 1.25, len(angle))
            u = tip[:, 0] + side * reach * np.cos(heading)
            v = tip[:, 1] + reach * np.sin(heading)
            points.append(np.stack([u, v], axis=-1).reshape(-1, 2))
            widths.append(np.full(u.size, width))
            weights.append(np.full(u.size, 0.04 + 4.4 * width))
            tip = np.repeat(np.stack([u[-1], v[-1]], axis=-1), 2, axis=0)
            fork = np.tile([-1.0, 1.0], len(angle)) * rng.uniform(0.15, 0.6, 2 * len(angle))
            angle = np.repeat(heading[-1], 2) + fork
            width *= 0.66
    hila = np.array([[-0.085, 0.44], [0.085, 0.42]])
    return frame.dots(np.concatenate(points), np.concatenate(widths), np.concatenate(weights)) + (
        frame.dots(hila, 0.03, 0.07)
    )


def _tissue(frame: Frame, shape: Shape, rng: np.random.Generator) -> Array:
    """Soft tissue over everything: breasts or pectorals, fat, airway, stomach bubble, mottle."""
    breast = rng.uniform(0.0, 0.09)
    density = 0.03 * frame.texture(rng, 5) + 0.012 * frame.texture(rng, 45)
    for side in SIDES.values():
        density += breast * inside(1.0 - frame.disc(side * 0.21, 0.60, 0.15, 0.13), 0.35)
    airway = np.array([[-0.002, -0.1], [-0.006, 0.30], [-0.008, 0.38]])
    density -= frame.line(airway, 0.014, 0.17)
    for side, drop in ((-1.0, 0.43), (1.0, 0.44)):
        density -= frame.line(np.array([[-0.008, 0.38], [side * 0.075, drop]]), 0.009, 0.07)
    bubble = frame.disc(rng.uniform(0.12, 0.19), shape.dome_left + 0.06, 0.05, 0.028)
    return density - rng.uniform(0.0, 0.16) * inside(1.0 - bubble, 0.3)
