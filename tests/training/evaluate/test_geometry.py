import numpy as np
import pytest

from training.evaluate.geometry import alignment, modality_gap, uniformity

PLUS, MINUS = np.float32([[1, 0]]), np.float32([[-1, 0]])


def test_pairs_that_coincide_are_aligned_and_opposites_are_not():
    assert alignment(PLUS, PLUS) == 0
    assert alignment(PLUS, MINUS) == pytest.approx(4)


def test_two_opposite_points_are_more_uniform_than_two_equal_ones():
    assert uniformity(np.concatenate([PLUS, PLUS])) == pytest.approx(0)
    assert uniformity(np.concatenate([PLUS, MINUS])) == pytest.approx(-8)


def test_uniformity_equals_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 5)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    kernel = [
        np.exp(-2 * np.sum((a - b) ** 2))
        for i, a in enumerate(points)
        for j, b in enumerate(points)
        if i != j
    ]
    assert uniformity(points) == pytest.approx(np.log(np.mean(kernel)), abs=1e-5)


def test_the_gap_is_the_distance_of_the_means():
    images, texts = np.float32([[1, 0], [0, 1]]), np.float32([[-1, 0], [0, -1]])
    assert modality_gap(images, texts) == pytest.approx(np.sqrt(2))
    assert modality_gap(images, images) == 0
