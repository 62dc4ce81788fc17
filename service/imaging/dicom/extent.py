"""Shows an image over the whole range of its values, and says how its file would show it."""

import numpy as np

from service.arrays import Bools
from service.imaging.dicom.luts import Values
from service.imaging.dicom.windows import BLACK, WHITE, Curve
from service.imaging.radiograph import Extent, Window

POINTS = 1024
"""Grays of a curve."""


def whole_range(
    values: Values, exposed: Bools, shown: Values, window: Window, *, inverted: bool
) -> tuple[Values, Extent]:
    """Returns display values 0…1 of the whole range of values, and how the file shows them.

    values: the modality values of an image's N words. exposed: those that occur and are not
    padding. shown: how the file shows each, 0…1, in its polarity. window: what made them so.
    """
    low, high = float(values[exposed].min()), float(values[exposed].max())
    levels = _grays(values, low, max(high, low + 1e-9), inverted=inverted)
    straight = _grays(values, window.low, window.high, inverted=inverted)
    if np.allclose(straight[exposed], shown[exposed], atol=1e-6):
        return levels, Extent(low, high, window)
    between = values[exposed & (shown > BLACK) & (shown < WHITE)]
    ends = (float(between.min()), float(between.max())) if between.size else (low, high)
    order = np.argsort(levels[exposed])
    steps = np.linspace(0, 1, POINTS)
    curve = np.interp(steps, levels[exposed][order], shown[exposed][order])
    return levels, Extent(low, high, Window(*ends, window.source), tuple(curve.tolist()))


def _grays(values: Values, low: float, high: float, *, inverted: bool) -> Values:
    grays = Curve(low, high, sigmoid=False)(values)
    return 1 - grays if inverted else grays
