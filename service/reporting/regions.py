"""Says where in a frontal radiograph the map of a finding points: a zone of the lungs, and a box.

The side of a sentence is compared with the side of the map. "Left" is the patient's left, which is
on the right of the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.arrays import Bools, FloatArray
from service.bundle.maps import upsampled
from service.imaging.lungs import Box, LungFields

Floats = npt.NDArray[np.float64]
Side = Literal["left", "right"]
Pointed = Literal["agrees", "disagrees", "unclear"]
DECILE = 0.9
"""Quantile of a map above which it points."""
CLEAR = 0.8
"""Share of the upper decile on one side of the midline from which the map lies on that side."""
_SAMPLES = 64
"""Samples a side to which a map is enlarged before it is measured."""
_LEVELS = ("upper", "mid", "lower")
"""The thirds of the lung fields' height."""


@dataclass(frozen=True, slots=True)
class Region:
    """Where the finding of a sentence points in one view.

    view: the place of the view among the images of the report, from 0. zone: a side and a third of
    the lung fields' box, such as "left lower"; None if most of what is pointed at lies outside.
    box: around the largest part pointed at. lungs_found: whether the lung fields were found; if
    not, the zone is one of the exposed field.
    """

    finding: str
    view: int
    zone: str | None
    box: Box
    lungs_found: bool
    agrees: Pointed | None
    """Whether the map lies on the one side that the sentence names; None if it names none."""


@dataclass(frozen=True, slots=True)
class Pointing:
    """The maps of the findings in the frontal view of a study.

    part: of the radiograph, what the maps cover; it may reach outside. maps: finding → float32[G,
    G].
    """

    view: int
    part: Box
    lungs: LungFields
    maps: Mapping[str, FloatArray]

    def region(self, finding: str, side: Side | None) -> Region | None:
        """Returns where a finding points; None if its map is flat. side: what a sentence names."""
        samples = _Samples.of(self.maps[finding], self.part)
        if not samples.chosen.any():
            return None
        return Region(
            finding=finding,
            view=self.view,
            zone=samples.zone(self.lungs.box),
            box=samples.largest_box(),
            lungs_found=self.lungs.found,
            agrees=None if side is None else samples.agreement(side, self.lungs.box),
        )


@dataclass(frozen=True, slots=True)
class _Samples:
    """An enlarged map. x, y: centres of its columns and rows, in fractions of the radiograph.

    chosen: its upper decile within the radiograph, bool[rows, columns].
    """

    x: Floats
    y: Floats
    chosen: Bools

    @classmethod
    def of(cls, grid: FloatArray, part: Box) -> "_Samples":
        heat = upsampled(grid, _SAMPLES, _SAMPLES)
        centres = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        x, y = part.left + part.width * centres, part.top + part.height * centres
        shown = np.outer((y > 0) & (y < 1), (x > 0) & (x < 1))
        least = np.quantile(heat[shown], DECILE) if shown.any() else np.inf
        return cls(x, y, shown & (heat > least))

    def zone(self, lungs: Box) -> str | None:
        """Returns the zone that holds the most, if more than half lies in the lung fields' box."""
        across, down = (self.x - lungs.left) / lungs.width, (self.y - lungs.top) / lungs.height
        inside = self.chosen & np.outer((down >= 0) & (down < 1), (across >= 0) & (across < 1))
        if 2 * inside.sum() <= self.chosen.sum():
            return None
        rows, columns = np.nonzero(inside)
        sides, thirds = (across[columns] * 2).astype(int), (down[rows] * len(_LEVELS)).astype(int)
        side, third = divmod(int(np.bincount(sides * len(_LEVELS) + thirds).argmax()), len(_LEVELS))
        return f"{('right', 'left')[side]} {_LEVELS[third]}"

    def agreement(self, side: Side, lungs: Box) -> Pointed:
        """Decides whether the upper decile lies clearly on this side of the lungs' midline."""
        columns = np.nonzero(self.chosen)[1]
        on_left = float((self.x[columns] > lungs.left + lungs.width / 2).mean())
        on_side = on_left if side == "left" else 1 - on_left
        if on_side >= CLEAR:
            return "agrees"
        return "disagrees" if 1 - on_side >= CLEAR else "unclear"

    def largest_box(self) -> Box:
        """Returns the box around the largest connected part of the upper decile."""
        part = _largest_part(self.chosen)
        left, width = _extent(self.x[part.any(axis=0)], self.x)
        top, height = _extent(self.y[part.any(axis=1)], self.y)
        return Box(left, top, width, height)


def _extent(covered: Floats, centres: Floats) -> tuple[float, float]:
    """Returns start and length, within 0…1, of samples of which the covered ones are given."""
    half = (centres[1] - centres[0]) / 2
    start, end = max(0.0, float(covered[0] - half)), min(1.0, float(covered[-1] + half))
    return start, end - start


def _largest_part(mask: Bools) -> Bools:
    """Returns the largest part of a mask whose samples touch along their edges."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(labels, 1)
        near = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
        spread = np.where(mask, np.maximum.reduce([labels, *near]), 0)
        if (spread == labels).all():
            return np.asarray(labels == np.bincount(labels[mask]).argmax())
        labels = spread
