import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from training.evaluate.geometry import alignment, geometry, modality_gap, plane, uniformity
from training.evaluate.result import NotMeasured

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


def test_the_picture_keeps_the_distances_of_points_in_a_plane():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(12, 2)).astype(np.float32)
    turned = flat @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:2].astype(np.float32)
    drawn = plane(turned[:7], turned[7:])
    points = np.array(drawn["plane/image"] + drawn["plane/report"])
    assert (len(drawn["plane/image"]), len(drawn["plane/report"])) == (7, 5)
    np.testing.assert_allclose(pairwise_distances(points), pairwise_distances(flat), atol=1e-5)


def test_a_study_without_a_report_is_no_pair(pairs, embedded):
    data = pairs([(9, 1), (1, 9), (5, 5)], [[]] * 3, reports=["a", "b", ""])
    section = geometry(embedded(data, {"a": (1, 0), "b": (0, 1)}))
    assert section.values["alignment"].n == 2
    with pytest.raises(NotMeasured, match="two studies"):
        geometry(embedded(pairs([(9, 1)], [[]], reports=["a"]), {"a": (1, 0)}))
