import numpy as np
import pytest

from training.data.gaze import heatmap
from training.data.study import Gaze


def test_a_single_fixation_is_a_gaussian_of_the_stated_width():
    picture = heatmap(Gaze((0.5,), (0.5,), (200.0,)), 101, 101, sigma=0.1)
    assert picture[50, 50] == 1.0
    assert picture[50, 60] == pytest.approx(np.exp(-0.5 * (10 / 10.1) ** 2), rel=1e-5)
    np.testing.assert_allclose(picture, picture.T, atol=1e-7)


def test_x_runs_along_the_width_and_y_along_the_height():
    picture = heatmap(Gaze((0.875,), (0.25,), (1.0,)), 40, 80, sigma=0.05)
    assert picture.shape == (40, 80)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert row in (9, 10)
    assert column in (69, 70)


def test_spread_is_round_in_pixels_on_an_oblong_image():
    picture = heatmap(Gaze((0.5,), (0.5,), (1.0,)), 41, 81, sigma=0.1)
    assert picture[20 + 8, 40] == pytest.approx(picture[20, 40 + 8])


def test_fixations_weigh_by_their_duration():
    picture = heatmap(Gaze((0.1, 0.9), (0.5, 0.5), (100.0, 400.0)), 50, 50, sigma=0.05)
    assert picture[25, 4] / picture[25, 44] == pytest.approx(0.25, rel=0.01)


def test_scaling_every_duration_changes_nothing():
    x, y = (0.2, 0.6, 0.7), (0.3, 0.3, 0.8)
    once = heatmap(Gaze(x, y, (1.0, 2.0, 3.0)), 32, 32, 0.1)
    np.testing.assert_allclose(once, heatmap(Gaze(x, y, (10.0, 20.0, 30.0)), 32, 32, 0.1))


@pytest.mark.parametrize("gaze", [Gaze(), Gaze((0.5,), (0.5,), (0.0,))])
def test_no_dwell_is_all_zeros(gaze):
    picture = heatmap(gaze, 24, 32, sigma=0.05)
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture, np.zeros((24, 32), np.float32))
