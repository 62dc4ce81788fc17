import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.labels import LabelSets, Prompts
from service.bundle.scoring import Scorer
from tests.training.evaluate.conftest import has_nodule
from training.evaluate.calibration import (
    LEAST_STUDIES,
    TOLERATED_ERROR,
    abstention_band,
    calibrate,
    calibrate_sets,
)
from training.evaluate.prompts import margins, present_scores

NODULE = Prompts(present=("Nodule.",), absent=("None.",))
DIRECTIONS = {"Nodule.": (1, 0), "None.": (-1, 0)}
BACKWARDS = {"Nodule.": (-1, 0), "None.": (1, 0)}


def test_calibration_rises_with_the_margin_and_keeps_the_prevalence(noisy, embedded):
    """A maximum-likelihood fit with an offset predicts the split's own prevalence on average."""
    data = embedded(noisy(), DIRECTIONS)
    labels, left = calibrate(data, {"nodule": NODULE})
    calibration = labels["nodule"].calibration
    margin = margins(data.encoder, data.images, [NODULE])[:, 0]
    probability = 1 / (1 + np.exp(-(calibration.slope * margin + calibration.offset)))
    assert left == {}
    assert calibration.slope > 0
    assert probability.mean() == pytest.approx(has_nodule(data.pairs).mean(), abs=1e-3)


def test_a_model_scored_by_sigmoid_is_calibrated_to_its_similarities(noisy, embedded):
    """An absent prompt that is near to everything would shift a margin, and changes nothing."""
    aside = {"Nodule.": (1, 0), "None.": (1, 1)}
    data = embedded(noisy(), aside, scorer=Scorer("sigmoid", 10.0, -1.0))
    labels, _ = calibrate(data, {"nodule": NODULE})
    similarity = present_scores(data.encoder, data.images, [NODULE])[:, 0]
    probability = labels["nodule"].calibration.probability(similarity)
    assert probability.mean() == pytest.approx(has_nodule(data.pairs).mean(), abs=1e-3)
    alone, _ = calibrate(data, {"nodule": Prompts(present=NODULE.present)})
    assert alone["nodule"].calibration == labels["nodule"].calibration


def test_a_label_with_too_few_on_one_side_stays_uncalibrated_and_says_so(pairs, embedded):
    data = embedded(pairs([(9, 1)] * 20, [["nodule"]] + [[]] * 19), DIRECTIONS)
    labels, left = calibrate(data, {"nodule": NODULE})
    assert labels["nodule"].calibration is None
    assert labels["nodule"].present == NODULE.present
    assert left == {
        "nodule": f"only 1 studies have it, or do not have it; {LEAST_STUDIES} are needed"
    }


def test_a_margin_that_falls_with_the_finding_is_not_turned_round(noisy, embedded):
    labels, left = calibrate(embedded(noisy(), BACKWARDS), {"nodule": NODULE})
    assert labels["nodule"].calibration is None
    assert "not higher in studies with the finding" in left["nodule"]


def test_every_set_is_calibrated_and_the_reasons_name_theirs(noisy, embedded):
    nodule = NODULE.model_dump()
    sets = LabelSets.model_validate({"a": {"nodule": nodule}, "b": {"mass": nodule}})
    calibrated, left = calibrate_sets(embedded(noisy(), DIRECTIONS), sets)
    assert calibrated.root["a"]["nodule"].calibration is not None
    assert calibrated.root["b"]["mass"].calibration is None
    assert list(left) == ["b: mass"]


@given(
    st.lists(
        st.tuples(st.floats(0, 1) | st.integers(0, 20).map(lambda n: n / 20), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
@settings(max_examples=300)
def test_on_either_side_of_the_band_few_calls_are_wrong(calls):
    """Or the side is withheld; and no threshold nearer to 0.5 would do."""
    probability, truth = np.array([p for p, _ in calls]), np.array([t for _, t in calls])

    def tolerable(called, right):
        return called.sum() >= LEAST_STUDIES and (~right[called]).mean() <= TOLERATED_ERROR

    low, high = abstention_band(probability, truth)
    assert 0 <= low <= 0.5 <= high <= 1
    assert high == 1 or tolerable(probability >= high, truth)
    assert low == 0 or tolerable(1 - probability >= 1 - low, ~truth)
    for step in range(10):
        threshold = (50 + 5 * step) / 100
        assert threshold >= high or not tolerable(probability >= threshold, truth)
        assert threshold >= 1 - low or not tolerable(1 - probability >= threshold, ~truth)


def test_many_right_denials_do_not_excuse_wrong_findings():
    probability = np.concatenate([np.full(90, 0.1), np.full(10, 0.6)])
    truth = np.concatenate([np.zeros(90, bool), np.arange(10) < 5])
    assert abstention_band(probability, truth) == (0.5, 1)


def test_certain_and_right_needs_no_abstention():
    probability, truth = np.repeat([0.1, 0.9], 5), np.repeat([False, True], 5)
    assert abstention_band(probability, truth) == (0.5, 0.5)


def test_calls_that_are_always_wrong_are_all_withheld():
    probability, truth = np.repeat([0.1, 0.9], 5), np.repeat([True, False], 5)
    assert abstention_band(probability, truth) == (0, 1)
