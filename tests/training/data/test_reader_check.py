import numpy as np
import pytest

from training.data.phantom.gaze import draw_gaze
from training.data.phantom.scanpath import draw_scanpath
from training.data.reader_check import MEASURES, consecutive, drawn, measured, table
from training.data.sources.siim_acr import GAZE, studies
from training.data.study import Gaze

REAL = dict(
    zip(
        MEASURES,
        (
            (17.2, 27.0, 35.0, 46.0, 103.0),
            (0.697, 0.756, 0.833, 0.962, 1.782),
            (0.016, 0.032, 0.082, 0.199, 0.493),
            (9.0, 12.0, 15.0, 19.0, 28.8),
            (2.648, 3.277, 3.556, 3.929, 4.375),
            (1.6, 2.2, 3.2, 4.6, 6.7),
            (0.168, 0.235, 0.279, 0.313, 0.354),
        ),
        strict=True,
    )
)
"""Percentiles 5, 25, 50, 75 and 95 of one radiologist's readings of 125 images."""
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOLERANCE = 0.12
"""A sample of 125 images is further from its own distribution once in twenty times."""


@pytest.fixture(scope="module")
def readings():
    return drawn(draw_scanpath, 600)


def off(values, quantiles):
    """The largest difference of a share below a quantile; ties count on either side."""
    below = [np.mean(values < quantile) for quantile in quantiles]
    up_to = [np.mean(values <= quantile) for quantile in quantiles]
    return max(
        max(low - share, share - high, 0.0)
        for low, high, share in zip(below, up_to, SHARES, strict=True)
    )


def test_the_measured_reader_is_distributed_as_the_real_one(readings):
    values = measured(readings)
    for name, quantiles in REAL.items():
        assert off(values[name], quantiles) < TOLERANCE, name


def test_the_simulated_reader_is_not():
    """It looks more evenly over the film, and less evenly long."""
    values = measured(drawn(draw_gaze, 300))
    assert (
        sum(off(values[name], quantiles) > 2 * TOLERANCE for name, quantiles in REAL.items()) >= 3
    )


def test_measures_of_a_reading_that_can_be_counted():
    reading = Gaze((0.1, 0.1, 0.9, 0.9), (0.1, 0.1, 0.1, 0.9), (1.0, 1.0, 2.0, 4.0))
    fixations, dwell, step, cells, entropy, area, extent = measured([reading]).values()
    assert fixations == [4]
    np.testing.assert_allclose(dwell, [0.5, 0.5, 1.0, 2.0])
    np.testing.assert_allclose(step, [0.0, 0.8, 0.8], atol=1e-12)
    assert cells == [3]
    np.testing.assert_allclose(entropy, [0.25 * 2 + 0.25 * 2 + 0.5])
    assert 0.0 < area[0] < 5.0
    np.testing.assert_allclose(extent, [np.hypot(0.4, 0.2 * 3**0.5)])


def test_consecutive_fixations_lie_nearer_than_shuffled_ones(readings):
    in_order, shuffled = consecutive(readings[:50])
    assert in_order < 0.5 * shuffled


def test_readings_depend_on_their_seed_alone():
    assert drawn(draw_scanpath, 3) == drawn(draw_scanpath, 3)
    assert drawn(draw_scanpath, 3) != drawn(draw_scanpath, 3, seed=1)


def test_the_table_compares_with_the_published_gaze(shared_data):
    root = shared_data / "gaze"
    if not (root / GAZE).is_file():
        pytest.skip(f"{GAZE} is not in {root}")
    real = [gaze for study in studies(root) for gaze in study.gaze]
    values = measured(real)
    for name, quantiles in REAL.items():
        np.testing.assert_allclose(np.quantile(values[name], SHARES), quantiles, rtol=0.03)
    assert len([line for line in table(real[:10]) if line.startswith("| ")]) == 1 + len(REAL) + 2
