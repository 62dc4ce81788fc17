import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.experts import assigned
from training.data.study import DataError


@pytest.fixture
def heatmaps():
    return np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8)


@given(st.integers(2, 40), st.integers(0, 2**31))
def test_shuffled_gaze_gives_each_study_anothers_and_loses_none(count, seed):
    maps = np.arange(count, dtype=np.uint8).reshape(count, 1, 1)
    given_maps = assigned(maps, "shuffled", np.random.default_rng(seed))
    assert sorted(given_maps.ravel()) == sorted(maps.ravel())
    assert not (given_maps == maps).any()


def test_one_study_alone_is_not_given_its_own_gaze_as_anothers(heatmaps):
    with pytest.raises(DataError, match="nobody to exchange gaze with"):
        assigned(heatmaps[:1], "shuffled", np.random.default_rng(0))


def test_mean_gaze_is_the_same_for_all(heatmaps):
    given_maps = assigned(heatmaps, "mean", np.random.default_rng(0))
    for given_map in given_maps:
        np.testing.assert_allclose(given_map, heatmaps.mean(axis=0), atol=0.5)


@pytest.mark.parametrize("gaze", ["own", "lesions"])
def test_ones_own_gaze_stays(heatmaps, gaze):
    np.testing.assert_array_equal(assigned(heatmaps, gaze, np.random.default_rng(0)), heatmaps)
