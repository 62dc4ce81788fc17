"""Draws distractors, which no report mentions."""

from collections.abc import Callable

import numpy as np

from training.data.phantom.anatomy import Chest
from training.data.phantom.canvas import Array, Frame, curve, inside


def _central_line(chest: Chest, rng: np.random.Generator) -> Array:
    end = rng.uniform(0.40, 0.48)
    path = np.array([[-0.30, 0.10], [-0.20, 0.16], [-0.09, 0.20], [-0.045, 0.27], [-0.04, end]])
    return chest.frame.line(curve(path), 0.004, 0.24)


def _ecg_leads(chest: Chest, rng: np.random.Generator) -> Array:
    density = np.zeros_like(chest.air)
    for u, v in ((-0.27, 0.20), (0.28, 0.21), (0.27, 0.66)):
        pad = np.array([u, v]) + rng.normal(0.0, 0.015, 2)
        wire = np.array([pad, pad * [0.9, 1.0] + [0.03, 0.15], [rng.normal(0.1, 0.1), 1.1]])
        density += chest.frame.line(curve(wire), 0.003, 0.18)
        density += 0.25 * inside(1.0 - chest.frame.disc(pad[0], pad[1], 0.014, 0.014), 0.3)
    return density


def _pacemaker(chest: Chest, rng: np.random.Generator) -> Array:
    u, v = 0.25 + rng.normal(0.0, 0.015), 0.215 + rng.normal(0.0, 0.012)
    du, dv = (chest.frame.u - u) / 0.045, (chest.frame.v - v) / 0.038
    box = inside(1.0 - np.sqrt(np.sqrt((du**2) ** 2 + (dv**2) ** 2)), 0.1)
    lead = np.array([[u, v], [0.14, 0.19], [0.03, 0.22], [-0.035, 0.40], [-0.02, 0.60], [0.1, 0.7]])
    return 0.42 * box + chest.frame.line(curve(lead), 0.004, 0.26)


def _side_marker(chest: Chest, rng: np.random.Generator) -> Array:
    """Draws a lead letter L next to the patient's left shoulder."""
    corner = chest.frame.pose.to_body(np.array([0.93, rng.uniform(0.05, 0.12)]))
    letter = corner + np.array([[-0.018, -0.03], [-0.018, 0.03], [0.018, 0.03]])
    return chest.frame.line(letter, 0.006, 0.7)


def _nipple_shadow(chest: Chest, rng: np.random.Generator) -> Array:
    """Draws nipple shadows: a pair, unlike a nodule."""
    v = 0.645 + rng.normal(0.0, 0.01)
    nipples = np.array([[-0.205, v], [0.225, v]])
    return chest.air * chest.frame.dots(nipples, 0.017, 0.17)


def _skin_fold(chest: Chest, rng: np.random.Generator) -> Array:
    """Draws a skin fold: an edge like a pleural line, with lung markings beyond it."""
    side = float(rng.choice([-1.0, 1.0]))
    u, v = chest.frame.u * side, chest.frame.v
    across = 0.24 + 0.25 * (v - 0.5) + rng.normal(0.0, 0.015) - u
    along = inside(v - 0.30, 0.08) * inside(0.62 - v, 0.08)
    fade = np.exp(-np.clip(across, 0.0, None) / 0.035)
    return 0.10 * chest.air * inside(across, 0.005) * fade * along


def corner_marker(frame: Frame) -> Array:
    """Draws the shortcut: a lead square in the lower corner of the film."""
    across = inside(0.022 - np.abs(frame.axis - 0.05), 0.004)
    down = inside(0.022 - np.abs(frame.axis - 0.95), 0.004)
    return 0.5 * np.outer(down, across)


DISTRACTORS: dict[str, Callable[[Chest, np.random.Generator], Array]] = {
    "central line": _central_line,
    "ECG leads": _ecg_leads,
    "nipple shadow": _nipple_shadow,
    "pacemaker": _pacemaker,
    "side marker": _side_marker,
    "skin fold": _skin_fold,
}
"""Name → (chest, rng) → what it adds to the density."""
