import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from training.evaluate.bootstrap import (
    aurocs,
    average_precisions,
    f1_scores,
    interval,
    means,
    patient_counts,
)

STUDIES = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30
)


@given(STUDIES)
@settings(max_examples=150)
def test_a_count_is_scikit_learns_sample_weight(studies):
    score, truth, count = (np.array(column) for column in zip(*studies, strict=True))
    there, not_there = count[truth].sum(), count[~truth].sum()
    counts = np.float64([count])
    called = score >= 2
    if there and not_there:
        weighted = {"sample_weight": count}
        assert aurocs(counts, truth, score)[0] == pytest.approx(
            roc_auc_score(truth, score, **weighted)
        )
        assert average_precisions(counts, truth, score)[0] == pytest.approx(
            average_precision_score(truth, score, **weighted)
        )
        assert f1_scores(counts, truth, called)[0] == pytest.approx(
            f1_score(truth, called, sample_weight=count, zero_division=0)
        )
    else:
        assert np.isnan(aurocs(counts, truth, score)[0])


def test_whole_patients_are_drawn_and_as_many_as_there_are():
    counts = patient_counts(["a", "b", "b", "c"], resamples=200)
    np.testing.assert_array_equal(counts[:, 1], counts[:, 2])
    np.testing.assert_array_equal(counts[:, [0, 1, 3]].sum(axis=1), 3)
    assert counts.mean() == pytest.approx(1, abs=0.15)


def test_the_spread_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    counts = patient_counts([str(n) for n in range(400)], resamples=2000)
    assert means(counts, values).std() == pytest.approx(values.std() / 20, rel=0.1)


def test_resamples_without_an_answer_are_left_out_of_the_interval():
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1, 1)
    assert interval(np.array([np.nan])) == (None, None)
