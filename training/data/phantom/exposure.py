"""Turns the layers of a chest into the grey values of a film."""

import numpy as np
import numpy.typing as npt

from training.data.phantom.anatomy import Chest
from training.data.phantom.canvas import Array, inside
from training.data.phantom.lesions import Lesion


def stack_layers(chest: Chest, lesions: list[Lesion]) -> Array:
    """Adds the layers that the beam crosses."""
    vessels = chest.vessels * chest.air
    for lesion in lesions:
        if lesion.vessels is not None:
            vessels = vessels * lesion.vessels
    abdomen = inside(chest.frame.v - chest.shape.floor(chest.frame.u), 0.008)
    water = 1.0 - (1.0 - chest.silhouette) * (1.0 - abdomen)
    flesh = 0.50 + 0.13 * water + (1.0 - 0.5 * water) * chest.bones + chest.tissue
    density = chest.outline * (flesh - 0.33 * chest.air + vessels)
    for lesion in lesions:
        density += lesion.density
    return np.asarray(density)


def expose(
    density: Array, habitus: np.random.Generator, noise: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Windows the density at a random exposure, with less quantum noise in larger pixels."""
    gain, offset = habitus.uniform(1.0, 1.25), habitus.uniform(0.0, 0.06)
    gamma = habitus.uniform(0.85, 1.2)
    grain = habitus.uniform(0.004, 0.012) * len(density) / 128.0
    noisy = gain * (density - offset) + grain * noise.standard_normal(density.shape)
    return np.round(255.0 * np.clip(noisy, 0.0, 1.0) ** gamma).astype(np.uint8)
