import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundle.preprocess import ImageSpec, preprocess
from training.data.gaze import Sigma, aligned_heatmap, heatmap
from training.data.study import Gaze

FITS = ("shortest", "longest", "squash")
fraction = st.floats(0, 1)


def pixels(size):
    return Sigma(size, "pixel")


@st.composite
def readings(draw):
    """One reader's fixations, some of them through a zoomed view."""
    count = draw(st.integers(0, 6))
    columns = [draw(st.lists(fraction, min_size=count, max_size=count)) for _ in range(2)]
    duration = draw(st.lists(st.floats(1, 1000), min_size=count, max_size=count))
    edges = st.lists(st.integers(0, 8), min_size=2, max_size=2, unique=True).map(sorted)
    views = [(draw(edges), draw(edges)) for _ in range(count)] if draw(st.booleans()) else []
    shown = tuple((x[0] / 8, y[0] / 8, x[1] / 8, y[1] / 8) for x, y in views)
    return Gaze(*map(tuple, columns), tuple(duration), shown=shown)


def test_a_single_fixation_is_a_gaussian_of_the_stated_width():
    picture = heatmap([Gaze((0.5,), (0.5,), (200.0,))], 101, 101, pixels(10))
    assert picture[50, 50] == 1.0
    assert picture[50, 60] == pytest.approx(math.exp(-0.5), rel=1e-6)
    np.testing.assert_allclose(picture, picture.T, atol=1e-7)


def test_x_runs_along_the_width_and_y_along_the_height():
    picture = heatmap([Gaze((0.875,), (0.25,), (1.0,))], 40, 80, pixels(4))
    assert picture.shape == (40, 80)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert row in (9, 10)
    assert column in (69, 70)


def test_spread_in_pixels_is_round_on_an_oblong_image():
    picture = heatmap([Gaze((0.5,), (0.5,), (1.0,))], 41, 81, pixels(8))
    assert picture[20 + 8, 40] == pytest.approx(picture[20, 40 + 8])


def test_spread_in_degrees_is_what_they_span_at_each_fixation():
    gaze = Gaze((0.25, 0.75), (0.5, 0.5), (1.0, 1.0), degree=((0.01, 0.02), (0.005, 0.04)))
    picture = heatmap([gaze], 101, 402, Sigma(2.0, "degree"))
    for column, across, down in ((100, 8.04, 4.04), (301, 4.02, 8.08)):
        step = picture[[50, 54], [column + 4, column]] / picture[50, column]
        assert step[0] == pytest.approx(math.exp(-0.5 * (4 / across) ** 2), rel=1e-5)
        assert step[1] == pytest.approx(math.exp(-0.5 * (4 / down) ** 2), rel=1e-5)


def test_a_wide_fixation_is_as_heavy_as_a_narrow_one_of_the_same_duration():
    gaze = Gaze((0.25, 0.75), (0.5, 0.5), (1.0, 1.0), degree=((0.02, 0.02), (0.04, 0.04)))
    picture = heatmap([gaze], 200, 200, Sigma(1.0, "degree"))
    assert picture[:, :100].sum() == pytest.approx(picture[:, 100:].sum(), rel=1e-4)
    assert picture[100, 150] == pytest.approx(0.25, rel=0.05)


def test_degrees_are_refused_where_a_reading_does_not_say_what_one_spans():
    known = Gaze((0.5,), (0.5,), (1.0,), degree=((0.1, 0.1),))
    with pytest.raises(ValueError, match="degree"):
        heatmap([known, Gaze((0.5,), (0.5,), (1.0,))], 8, 8, Sigma(1.0, "degree"))


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_a_spread_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="finite and positive"):
        Sigma(size, "pixel")


def test_fixations_weigh_by_their_duration():
    picture = heatmap([Gaze((0.1, 0.9), (0.5, 0.5), (100.0, 400.0))], 50, 50, pixels(2.5))
    assert picture[25, 4] / picture[25, 44] == pytest.approx(0.25, rel=0.01)


def test_a_fixation_lights_nothing_that_the_screen_did_not_show():
    zoomed = Gaze((0.5,), (0.5,), (1.0,), shown=((0.25, 0.5, 0.75, 1.0),))
    whole = heatmap([Gaze((0.5,), (0.5,), (1.0,))], 40, 80, pixels(12))
    picture = heatmap([zoomed], 40, 80, pixels(12))
    view = (slice(20, 40), slice(20, 60))
    np.testing.assert_allclose(picture[view], whole[view] / whole[view].max(), rtol=1e-5)
    picture[view] = 0.0
    assert not picture.any()


def test_each_fixation_is_cut_off_at_its_own_view():
    left, right = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    gaze = Gaze((0.25, 0.75), (0.5, 0.5), (1.0, 3.0), shown=(left, right))
    picture = heatmap([gaze], 20, 40, pixels(30))
    np.testing.assert_allclose(picture[:, :20] * 3, picture[:, :19:-1], rtol=1e-5)


def test_a_slow_reader_does_not_outvote_a_quick_one():
    quick = Gaze((0.25,), (0.5,), (100.0,))
    slow = Gaze((0.75, 0.75), (0.5, 0.5), (900.0, 5000.0))
    picture = heatmap([quick, slow], 40, 80, pixels(3))
    np.testing.assert_allclose(picture, picture[:, ::-1], atol=1e-6)


def test_a_reader_without_dwell_has_no_vote():
    reader = Gaze((0.2, 0.6), (0.3, 0.8), (1.0, 2.0))
    alone = heatmap([reader], 16, 16, pixels(2))
    np.testing.assert_allclose(
        heatmap([reader, Gaze(), Gaze((0.9,), (0.9,), (0.0,))], 16, 16, pixels(2)), alone
    )


@pytest.mark.parametrize("unit", ["pixel", "degree"])
@pytest.mark.parametrize(
    "gaze", [[], [Gaze()], [Gaze((0.5,), (0.5,), (0.0,), degree=((0.1, 0.1),))]], ids=len
)
def test_no_dwell_is_all_zeros(gaze, unit):
    picture = heatmap(gaze, 24, 32, Sigma(1.0, unit))
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture, np.zeros((24, 32), np.float32))


@given(st.lists(readings(), max_size=3), st.floats(0.5, 20))
def test_any_reading_gives_a_map_from_0_to_1_that_mirrors_with_its_image(readers, size):
    picture = heatmap(readers, 24, 32, pixels(size))
    assert picture.min() >= 0.0
    assert picture.max() in (0.0, 1.0)
    mirrored = [
        Gaze(
            tuple(1 - x for x in reader.x),
            reader.y,
            reader.duration,
            shown=tuple((1 - right, top, 1 - left, low) for left, top, right, low in reader.shown),
        )
        for reader in readers
    ]
    np.testing.assert_allclose(
        heatmap(mirrored, 24, 32, pixels(size)), picture[:, ::-1], rtol=1e-3, atol=1e-6
    )


@given(st.lists(readings(), max_size=3), st.floats(0.01, 100))
def test_neither_the_order_nor_the_pace_of_the_readers_matters(readers, pace):
    slower = [
        Gaze(r.x, r.y, tuple(pace * value for value in r.duration), shown=r.shown) for r in readers
    ]
    np.testing.assert_allclose(
        heatmap(slower[::-1], 16, 24, pixels(2)), heatmap(readers, 16, 24, pixels(2)), atol=1e-5
    )


def centroid(levels):
    """(across, down) in pixels from the left and top edge."""
    weights = levels.astype(np.float64)
    down, across = np.indices(levels.shape) + 0.5
    return np.average(across, weights=weights), np.average(down, weights=weights)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("target", [(64, 64), (48, 80)])
@pytest.mark.parametrize("shape", [(300, 211), (190, 301), (500, 130), (40, 31)])
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.42, 0.55), (0.6, 0.46)])
def test_a_landmark_and_the_gaze_upon_it_stay_together(fit, target, shape, place):
    spec = ImageSpec(height=target[0], width=target[1], fit=fit)
    rows, columns = shape
    down, across = (np.indices(shape) + 0.5) / np.reshape(shape, (2, 1, 1))
    landmark = np.hypot((across - place[0]) * columns, (down - place[1]) * rows)
    image = np.exp(-0.5 * (landmark / (0.04 * min(shape))) ** 2) * 65535
    levels = preprocess(image.astype(np.uint16), spec)
    gaze = Gaze((place[0],), (place[1],), (1.0,))
    looked = aligned_heatmap([gaze], rows, columns, spec, pixels(2))
    assert looked.shape == levels.shape == target
    assert looked.dtype == np.float32
    assert centroid(looked) == pytest.approx(centroid(levels), abs=0.1)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(240, 160), (160, 240)])
def test_gaze_on_the_white_squares_of_a_checkerboard_falls_on_white_squares(fit, shape):
    spec = ImageSpec(height=96, width=96, fit=fit)
    squares = np.indices(shape) // 20
    white = squares.sum(axis=0) % 2 == 1
    y, x = ((np.unique(squares[:, white], axis=1).T * 20 + 10) / shape).T
    gaze = Gaze(tuple(x), tuple(y), (1.0,) * len(x))
    looked = aligned_heatmap([gaze], *shape, spec, pixels(1))
    board = preprocess(white.astype(np.uint8) * 255, spec) / 255
    assert np.average(board, weights=looked) > 0.98
    assert np.average(board, weights=1 - looked) < 0.6


def test_padding_was_never_looked_at():
    spec = ImageSpec(height=32, width=32, fit="longest", fill=255)
    looked = aligned_heatmap([Gaze((0.5,), (0.5,), (1.0,))], 200, 100, spec, pixels(40))
    assert looked[:, 8:24].min() > 0.5
    assert not looked[:, :8].any()
    assert not looked[:, 24:].any()


def test_one_degree_spans_the_same_part_of_the_image_however_it_is_scaled():
    gaze = Gaze((0.5,), (0.5,), (1.0,), degree=((0.125, 0.125),))
    for fit, across, down in (("shortest", 8, 16), ("longest", 4, 8), ("squash", 8, 8)):
        looked = aligned_heatmap(
            [gaze], 400, 200, ImageSpec(height=64, width=64, fit=fit), Sigma(1.0, "degree")
        )
        rows, columns = looked.sum(axis=1), looked.sum(axis=0)
        assert rows[32 + down] / rows[32] == pytest.approx(math.exp(-0.5), rel=0.08)
        assert columns[32 + across] / columns[32] == pytest.approx(math.exp(-0.5), rel=0.16)


def test_gaze_on_what_the_crop_takes_away_leaves_no_peak():
    spec = ImageSpec(height=32, width=32)
    looked = aligned_heatmap([Gaze((0.5,), (0.02,), (1.0,))], 400, 200, spec, pixels(2))
    assert looked.max() == 0.0
