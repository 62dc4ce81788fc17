from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.labels import Prompts
from training.data.pairs import Pairs
from training.data.study import Study
from training.evaluate import zero_shot
from training.evaluate.zero_shot import (
    TOLERATED_ERROR,
    abstention_band,
    calibrate,
    margins,
    present_scores,
    zero_shot_metrics,
)

PROMPTS = {"nodule": Prompts(present=("A nodule.", "Nodule."), absent=("No nodule.",))}
DIRECTIONS = {"A nodule.": (1, 0), "Nodule.": (0, 1), "No nodule.": (-1, 0), "Mass.": (0, 1)}


@pytest.fixture(autouse=True)
def towers(monkeypatch):
    """Towers of two dimensions: an image's first two pixels, a prompt's entry above."""

    def images(_, pixels):
        vectors = pixels[:, 0, :2].astype(np.float32) - 128
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(zero_shot, "encode_images", images)
    monkeypatch.setattr(
        zero_shot, "encode_texts", lambda _, texts: np.float32([DIRECTIONS[t] for t in texts])
    )


def pairs(vectors, findings):
    pixels = (np.asarray(vectors)[:, None, :] + 128).astype(np.uint8)
    studies = tuple(
        Study(str(i), str(i), "test", (), "", "PA", findings=tuple(f))
        for i, f in enumerate(findings)
    )
    return Pairs(pixels, studies)


def noisy(seed=0, count=300):
    """Images whose first coordinate leans towards the nodule where there is one."""
    rng = np.random.default_rng(seed)
    truth = rng.random(count) < 0.3
    x = np.where(truth, 20, -20) + rng.normal(0, 30, count)
    vectors = np.stack([np.clip(x, -120, 120), np.full(count, 40)], axis=1)
    return pairs(vectors, [["nodule"] if t else [] for t in truth])


def auroc(scores, truth):
    """The share of (with, without) pairs in the right order; ties count half."""
    ordered = [(a > b) + 0.5 * (a == b) for a, b in product(scores[truth], scores[~truth])]
    return float(np.mean(ordered))


def test_the_score_is_the_similarity_to_the_mean_prompt():
    images = np.float32([[1, 0], [0, 1], [0.6, 0.8]])
    half = np.sqrt(0.5)
    expected = np.float32([half, half, 1.4 * half])
    np.testing.assert_allclose(present_scores(None, images, PROMPTS["nodule"]), expected)
    np.testing.assert_allclose(
        margins(None, images, PROMPTS["nodule"]), expected + images[:, 0], rtol=1e-6
    )


def test_without_absent_prompts_the_margin_is_the_present_score():
    images = np.float32([[1, 0], [0.6, 0.8]])
    prompt = Prompts(present=("Mass.",))
    np.testing.assert_array_equal(
        margins(None, images, prompt), present_scores(None, images, prompt)
    )


def test_auroc_equals_the_share_of_pairs_in_order():
    data = noisy()
    images = zero_shot.encode_images(None, data.images)
    metrics = zero_shot_metrics(None, data, PROMPTS)
    truth = data.has_finding("nodule")
    present, margin = (f(None, images, PROMPTS["nodule"]) for f in (present_scores, margins))
    assert metrics["auroc_present/nodule"] == pytest.approx(auroc(present, truth))
    assert metrics["auroc_margin/nodule"] == pytest.approx(auroc(margin, truth))
    assert metrics["auroc_present/nodule"] != metrics["auroc_margin/nodule"]


def test_the_macro_mean_is_over_the_labels_that_occur():
    data = pairs([(9, 1), (8, 1), (-3, 1), (1, 9)], [["nodule"], ["nodule", "mass"], [], ["mass"]])
    mass = Prompts(present=("Mass.",))
    metrics = zero_shot_metrics(None, data, PROMPTS | {"mass": mass, "never": mass})
    assert "auroc_present/never" not in metrics
    assert metrics["auroc_present/macro"] == pytest.approx(
        (metrics["auroc_present/nodule"] + metrics["auroc_present/mass"]) / 2
    )


def test_labels_that_never_occur_have_no_metrics():
    assert zero_shot_metrics(None, pairs([(1, 0)], [[]]), PROMPTS) == {}


def test_calibration_rises_with_the_margin_and_keeps_the_prevalence():
    """A maximum-likelihood fit with an offset predicts the split's own prevalence on average."""
    data = noisy()
    calibration = calibrate(None, data, PROMPTS)["nodule"].calibration
    margin = margins(None, zero_shot.encode_images(None, data.images), PROMPTS["nodule"])
    probability = 1 / (1 + np.exp(-(calibration.slope * margin + calibration.offset)))
    assert calibration.slope > 0
    assert probability.mean() == pytest.approx(data.has_finding("nodule").mean(), abs=1e-3)


def test_a_label_without_both_answers_stays_uncalibrated():
    label = calibrate(None, pairs([(1, 0), (0, 1)], [[], []]), PROMPTS)["nodule"]
    assert label.calibration is None
    assert label.present == PROMPTS["nodule"].present


@given(
    st.lists(
        st.tuples(st.floats(0, 1) | st.integers(0, 20).map(lambda n: n / 20), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=300, deadline=None)
def test_outside_the_band_few_calls_are_wrong(calls):
    """Or the band is everything; and no narrower band would do."""
    probability, truth = np.array([p for p, _ in calls]), np.array([t for _, t in calls])

    def tolerable(low, high):
        called = ~((low < probability) & (probability < high))
        wrong = (probability > 0.5) != truth
        return bool(called.any() and wrong[called].mean() <= TOLERATED_ERROR)

    low, high = abstention_band(probability, truth)
    assert low + high == pytest.approx(1)
    assert (low, high) == (0, 1) or tolerable(low, high)
    narrower = [(0.5 - w, 0.5 + w) for w in np.arange(0, 0.5, 0.05) if 0.5 - w > low]
    assert not any(tolerable(*band) for band in narrower)


def test_certain_and_right_needs_no_abstention():
    assert abstention_band(np.array([0.1, 0.9]), np.array([False, True])) == (0.5, 0.5)


def test_calls_that_are_always_wrong_are_all_withheld():
    assert abstention_band(np.array([0.1, 0.9]), np.array([True, False])) == (0, 1)
