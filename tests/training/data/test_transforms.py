import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import transforms
from training.data.transforms import Placement, augmented, exposure

STILL = Placement(1.0, 0.0, 0.0, 0.0)


def checkerboard(size=64, square=8):
    rows, columns = np.indices((size, size)) // square
    return ((rows + columns) % 2 * 255).astype(np.uint8)


def test_a_placement_at_rest_changes_nothing():
    np.testing.assert_array_equal(STILL(checkerboard()), checkerboard())


@given(st.integers(0, 1000))
@settings(max_examples=40)
def test_image_and_heatmap_get_the_same_crop_and_turn(seed):
    """A checkerboard given as both comes back as both, but for the image's exposure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "exposure", lambda levels, _: levels)
        image, heatmap = augmented(checkerboard(), checkerboard(), np.random.default_rng(seed))
    np.testing.assert_array_equal(image, heatmap)
    assert (image != checkerboard()).any()


def test_a_crop_shows_its_corner_enlarged():
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    left = Placement(0.5, 0.0, 0.0, 0.0)(ramp)
    right = Placement(0.5, 1.0, 0.0, 0.0)(ramp)
    np.testing.assert_allclose(left[32, [1, 62]], [0.5, 31], atol=1)
    np.testing.assert_allclose(right[32, [1, 62]], [32.5, 63], atol=1)


def test_a_turn_keeps_the_middle_and_moves_the_edge():
    line = np.zeros((65, 65), np.uint8)
    line[32] = 255
    turned = Placement(1.0, 0.0, 0.0, 5.0)(line)
    assert turned[32, 32] > 200
    assert turned[:, 60].argmax() != 32


def test_nothing_is_mirrored():
    """Left and right are words of the report."""
    half = np.zeros((64, 64), np.uint8)
    half[:, :20] = 255
    for seed in range(200):
        placed = Placement.draw(np.random.default_rng(seed))(half)
        assert placed[:, :20].mean() > placed[:, -20:].mean()


@pytest.mark.parametrize("seed", range(5))
def test_exposure_keeps_the_order_of_densities(seed):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    changed = exposure(ramp, np.random.default_rng(seed)).ravel().astype(int)
    assert (np.diff(changed) >= 0).all()
    assert changed[255] - changed[0] > 150
