"""Decides how often expert pairs join a batch, from how far training has come."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Schedule:
    """Knots (progress, probability): linear between them, constant after the last.

    The probability is 0 before the first knot. Example: with knots (0.1, 0.05) and (0.4, 0.5) it is
    0 at a progress of 0.05, 0.05 at 0.1 and 0.275 at 0.25.
    """

    knots: tuple[tuple[float, float], ...]

    def __call__(self, progress: float) -> float:
        """Returns the probability that experts join, at a progress from 0 to 1."""
        if not self.knots or progress < self.knots[0][0]:
            return 0.0
        places, values = zip(*self.knots, strict=True)
        return float(np.interp(progress, places, values))


NEVER = Schedule(())
ALWAYS = Schedule(((0.0, 1.0),))


def curriculum(end: float) -> Schedule:
    """Returns the curriculum of Kumar & Marttinen 2024: none at first, rising, falling to `end`."""
    return Schedule(((0.1, 0.05), (0.4, 0.5), (0.8, end)))


CURRICULUM = curriculum(0.1)
HALF = Schedule(((0.0, 0.5),))
"""The curriculum's peak throughout, for the ablation without a curriculum."""
PRIMING = 0.1
"""Fraction of training, from its start, over which the processor is primed."""
