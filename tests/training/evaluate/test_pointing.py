import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, roc_auc_score

from training.evaluate.pointing import SHARES, Heat, centre_prior, mean_gaze, pointing


@given(st.integers(0, 200), st.booleans())
@settings(max_examples=40)
def test_scores_equal_their_definitions(seed, tied):
    rng = np.random.default_rng(seed)
    heat, inside = rng.normal(size=(10, 20)), rng.random((10, 20)) < 0.3
    if tied:
        heat = heat.round()
    inside[0, :2] = True, False
    found = pointing(heat, inside)
    above = heat - heat.min()
    assert found.pointing_game == pytest.approx(inside[heat == heat.max()].mean())
    assert found.pixel_auc == pytest.approx(roc_auc_score(inside.ravel(), heat.ravel()))
    assert found.energy_inside == pytest.approx((above * inside).sum() / above.sum())
    for share, overlap in zip(SHARES, Heat(heat).overlaps(inside), strict=True):
        level = np.sort(heat, axis=None)[::-1][round(share * heat.size) - 1]
        marked = heat >= level
        assert overlap == pytest.approx(jaccard_score(inside.ravel(), marked.ravel()))


def test_a_map_that_is_the_same_everywhere_is_at_chance():
    inside = np.arange(24).reshape(4, 6) < 6
    assert pointing(np.ones((4, 6)), inside) == (0.25, 0.5, 0.25)
    np.testing.assert_array_equal(Heat(np.ones((4, 6))).overlaps(inside), [0.25] * len(SHARES))


def test_a_map_that_is_the_region_is_at_best():
    inside = np.arange(100).reshape(10, 10) < 10
    assert pointing(inside.astype(np.float32), inside) == (1, 1, 1)
    assert Heat(inside.astype(np.float32)).overlaps(inside)[SHARES.index(0.1)] == 1


def test_the_prior_is_in_the_middle():
    prior = centre_prior(9, 11)
    assert np.unravel_index(prior.argmax(), prior.shape) == (4, 5)
    np.testing.assert_allclose(prior, prior[::-1, ::-1])


def test_mean_gaze_is_of_the_studies_that_have_gaze():
    heatmaps = np.zeros((200, 2, 3), np.uint8)
    heatmaps[3], heatmaps[150, 0, 0] = 10, 250
    found = mean_gaze(heatmaps)
    np.testing.assert_array_equal(found, [[130, 5, 5], [5, 5, 5]])
    assert mean_gaze(heatmaps[:2]) is None
