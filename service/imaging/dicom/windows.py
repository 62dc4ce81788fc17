"""Reads the windows of a DICOM dataset (PS3.3 C.11.2.1.2, C.11.2.1.3)."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from service.imaging.dicom.elements import numbers, text
from service.imaging.dicom.luts import Values
from service.imaging.radiograph import Window

BLACK, WHITE = 0.02, 0.98
"""Display values up to which a pixel counts as black, and from which it counts as white."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A window: black up to `low`, white from `high` on, or an S-shaped curve around them."""

    low: float
    high: float
    sigmoid: bool

    def __call__(self, values: Values) -> Values:
        """Returns display values 0…1."""
        if self.sigmoid:
            centre, width = (self.low + self.high) / 2, self.high - self.low
            curved: Values = (1 + np.tanh(2 * (values - centre) / width)) / 2
            return curved
        shown: Values = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        return shown

    @property
    def window(self) -> Window:
        """The window as it is answered."""
        return Window(self.low, self.high, "window")


def stored_windows(dataset: Dataset) -> list[Curve]:
    """Returns the file's windows, in its order, without those that show no grays.

    Example: centre 500, width 200 is 400…599 for LINEAR, and 400…600 for LINEAR_EXACT and SIGMOID.
    A LINEAR width of 1 is a threshold and shows no grays.
    """
    function = text(dataset, "VOILUTFunction")
    linear = function not in {"LINEAR_EXACT", "SIGMOID"}
    curves = []
    pairs = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    for centre, width in pairs:
        middle, wide = (centre - 0.5, width - 1) if linear else (centre, width)
        if wide > 0:
            curves.append(Curve(middle - wide / 2, middle + wide / 2, function == "SIGMOID"))
    return curves
