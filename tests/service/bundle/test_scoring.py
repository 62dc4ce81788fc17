from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from service.bundle.labels import Calibration
from service.bundle.scoring import Scorer, sigmoid

PRESENT, ABSENT = np.float32([1, 0]), np.float32([0.6, 0.8])
IMAGE = np.float32([0.8, 0.6])
LOGITS = st.floats(-1e4, 1e4)


@given(LOGITS)
@example(-710.0)
def test_the_sigmoid_is_exact_to_the_last_digits_and_never_overflows(logit):
    """Decimal is exact; scipy's expit is 0 at -710, where e to that power is still a number."""
    expected = float(1 / (1 + (-Decimal(logit)).exp()))
    with np.errstate(over="raise"):
        assert sigmoid(logit) == pytest.approx(expected, rel=1e-12, abs=1e-323)


def test_softmax_is_that_over_present_and_absent_prompts():
    scorer = Scorer("softmax", 7.0, -3.0)
    score = scorer.direction(PRESENT, ABSENT) @ IMAGE
    expected = softmax([7 * PRESENT @ IMAGE, 7 * ABSENT @ IMAGE])[0]
    assert scorer.probability(score) == pytest.approx(expected, abs=1e-6)
    assert scorer.needs_absent
    np.testing.assert_array_equal(scorer.direction(PRESENT, None), PRESENT)


def test_sigmoid_is_that_of_the_present_prompts_alone():
    scorer = Scorer("sigmoid", 7.0, -3.0)
    for absent in (ABSENT, None):
        score = scorer.direction(PRESENT, absent) @ IMAGE
        assert scorer.probability(score) == pytest.approx(expit(7 * 0.8 - 3), abs=1e-6)
    assert not scorer.needs_absent


@given(LOGITS, st.floats(-100, 100), st.floats(-10, 10))
def test_many_scores_have_the_probabilities_of_each(score, slope, offset):
    calibration = Calibration(slope=slope, offset=offset, abstain=(0.4, 0.6))
    for probability in (calibration.probability, Scorer("sigmoid", 2.0, 1.0).probability):
        assert probability(np.array([score, 0.0]))[0] == probability(score)
