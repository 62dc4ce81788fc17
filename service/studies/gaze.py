"""Defines gaze: where a reader looked on an image."""

import math
from dataclasses import dataclass

from pydantic import ConfigDict


@dataclass(frozen=True, slots=True)
class Gaze:
    """One reader's fixations on one image. All lengths are fractions of its width and height."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    duration: tuple[float, ...] = ()
    """Milliseconds."""
    degree: tuple[tuple[float, float], ...] = ()
    """Span of one degree of visual angle at each fixation: (width, height). Empty if unknown."""
    shown: tuple[tuple[float, float, float, float], ...] = ()
    """Part of the image on the screen at each fixation: (left, top, right, bottom). Empty if the
    whole image was always shown."""

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.duration):
            raise ValueError("x, y and duration must have one value for each fixation")
        if not all(0.0 <= value <= 1.0 for value in (*self.x, *self.y)):
            raise ValueError("x and y must be fractions of the image in [0, 1]")
        if not all(math.isfinite(value) and value >= 0.0 for value in self.duration):
            raise ValueError("durations must be finite and not negative")
        if {len(self.degree), len(self.shown)} - {0, len(self)}:
            raise ValueError("degree and shown must be empty or have one entry for each fixation")
        if not all(math.isfinite(value) and value > 0.0 for each in self.degree for value in each):
            raise ValueError("degrees must be finite and positive")
        if not all(
            0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0
            for left, top, right, bottom in self.shown
        ):
            raise ValueError("shown must be (left, top, right, bottom) inside [0, 1]")

    def __len__(self) -> int:
        return len(self.duration)
