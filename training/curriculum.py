"""How often expert pairs join the batch: pure functions of training's progress."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Schedule:
    """Knots (progress, probability): linear between them, constant after the last.

    Before the first knot the probability is 0; at the knot it begins with the knot's own.
    """

    knots: tuple[tuple[float, float], ...]

    def __call__(self, progress: float) -> float:
        """The expert probability at a progress from 0 to 1."""
        if not self.knots or progress < self.knots[0][0]:
            return 0.0
        places, values = zip(*self.knots, strict=True)
        return float(np.interp(progress, places, values))


NEVER = Schedule(())
ALWAYS = Schedule(((0.0, 1.0),))
CURRICULUM = Schedule(((0.1, 0.05), (0.4, 0.5), (0.8, 0.1)))
"""Kumar & Marttinen 2024, section 3: none at first, rising, then falling."""
HALF = Schedule(((0.0, 0.5),))
"""The curriculum's peak throughout: the ablation without a curriculum."""
PRIMING = 0.1
"""The share of training, from its start, over which the processor is primed."""
