import math

import numpy as np
import pytest

from service.inference.drift import WINDOW, Drift, distance
from service.telemetry import DRIFT

NORTH, EAST = np.float32([1, 0]), np.float32([0, 1])


def gauge():
    (metric,) = DRIFT.collect()
    return metric.samples[0].value


def test_images_as_at_validation_do_not_drift():
    drift = Drift(NORTH)
    assert gauge() == 0
    drift.note([NORTH] * 100)
    assert gauge() == pytest.approx(0, abs=1e-6)


def test_other_images_move_the_mean_over_a_window_and_not_at_once():
    drift = Drift(NORTH)
    drift.note([EAST] * 10)
    assert 0 < gauge() < 0.01
    drift.note([EAST] * 3 * WINDOW)
    kept = math.exp(-(3 * WINDOW + 10) / WINDOW)
    mean = np.float32([kept, 1 - kept])
    assert gauge() == pytest.approx(distance(mean, NORTH), rel=0.01)


def test_without_a_reference_the_gauge_is_not_a_number():
    drift = Drift(None)
    drift.note([EAST])
    assert math.isnan(gauge())
