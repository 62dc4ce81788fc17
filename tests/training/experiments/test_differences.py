import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from training.experiments.differences import Difference, holm


def test_a_difference_is_paired_by_seed():
    arm = {1: 0.6, 2: 0.8, 3: 0.7, 9: 0.0}
    control = {3: 0.6, 2: 0.6, 1: 0.55, 8: 1.0}
    found = Difference.of(arm, control)
    differences = np.array([0.05, 0.2, 0.1])
    t = differences.mean() / (differences.std(ddof=1) / np.sqrt(3))
    assert (found.n, found.mean) == (3, pytest.approx(differences.mean()))
    assert found.t == pytest.approx(2 * student.sf(t, 2))
    assert found.flips == pytest.approx(2 / 8)
    half = student.ppf(0.975, 2) * differences.std(ddof=1) / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))
    assert found.bootstrap == pytest.approx((0.05, 0.2))


def test_one_seed_tells_no_difference():
    assert Difference.of({1: 0.5}, {1: 0.4}) is None


def test_holms_correction_is_the_published_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p):
    corrected = holm(p)
    for one, value in zip(corrected, p, strict=True):
        assert value <= one <= min(1, len(p) * value) + 1e-12
    order = np.argsort(p)
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
