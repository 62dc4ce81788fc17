import numpy as np
import pytest

from service.bundle.labels import Prompts
from service.bundle.scoring import Scorer
from training.evaluate.prompts import ensemble, label_scores, margins, present_scores

DIRECTIONS = {"A nodule.": (1, 0), "Nodule.": (0, 1), "No nodule.": (-1, 0), "Mass.": (0, 1)}
NODULE = Prompts(present=("A nodule.", "Nodule."), absent=("No nodule.",))
MASS = Prompts(present=("Mass.",))
IMAGES = np.float32([[1, 0], [0, 1], [0.6, 0.8]])


def test_the_score_is_the_similarity_to_the_mean_prompt(encoder):
    half = np.sqrt(0.5)
    expected = np.float32([half, half, 1.4 * half])
    towers = encoder(DIRECTIONS)
    scores = present_scores(towers, IMAGES, [NODULE, MASS])
    np.testing.assert_allclose(scores, np.stack([expected, IMAGES[:, 1]], axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        margins(towers, IMAGES, [NODULE])[:, 0], expected + IMAGES[:, 0], rtol=1e-6
    )


def test_without_absent_prompts_the_margin_is_the_present_score(encoder):
    towers = encoder(DIRECTIONS)
    np.testing.assert_array_equal(
        margins(towers, IMAGES, [MASS]), present_scores(towers, IMAGES, [MASS])
    )


def test_a_plain_mean_scores_by_the_mean_of_the_cosines(encoder):
    towers = encoder({"A mass.": (1, 0), "Mass.": (0, 1)})
    image = np.float32([0.6, 0.8])
    texts = ("A mass.", "Mass.")
    plain = ensemble(towers, texts, "plain")
    assert image @ plain == pytest.approx(np.mean(towers.texts(texts) @ image))
    assert np.linalg.norm(plain) == pytest.approx(np.sqrt(0.5))
    np.testing.assert_allclose(ensemble(towers, texts), plain / np.linalg.norm(plain))


def test_a_label_is_scored_as_the_encoder_says(encoder):
    softmax = encoder(DIRECTIONS)
    sigmoid = encoder(DIRECTIONS, scorer=Scorer("sigmoid", 10.0, -1.0))
    for towers, expected in ((softmax, margins), (sigmoid, present_scores)):
        np.testing.assert_array_equal(
            label_scores(towers, IMAGES, [NODULE, MASS]), expected(towers, IMAGES, [NODULE, MASS])
        )
