from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
)

from service.bundle.labels import Calibration, Label, Prompts
from service.bundle.scoring import Scorer
from tests.training.evaluate.conftest import has_nodule
from training.data.pairs import Pairs
from training.data.study import ManifestStudy
from training.evaluate.bootstrap import patient_counts
from training.evaluate.prompts import margins, present_scores
from training.evaluate.result import NotMeasured
from training.evaluate.zero_shot import BINS, expected_calibration_error, zero_shot

DIRECTIONS = {"A nodule.": (1, 0), "Nodule.": (1, 1), "No nodule.": (-1, 0), "Mass.": (0, 1)}
SPREAD = DIRECTIONS | {"A nodule.": (1, 0), "Nodule.": (0, 1), "Mass.": (3, 1)}
NODULE = Prompts(present=("A nodule.", "Nodule."), absent=("No nodule.",))
MASS = Prompts(present=("Mass.",))
CALIBRATED = Label(
    present=NODULE.present,
    absent=NODULE.absent,
    calibration=Calibration(slope=2.0, offset=-1.0, abstain=(0.4, 0.6)),
)


def measure(test, prompts):
    return zero_shot(test, prompts, patient_counts(test.patients))


def auroc(scores, truth):
    """The share of (with, without) pairs in the right order; ties count half."""
    ordered = [(a > b) + 0.5 * (a == b) for a, b in product(scores[truth], scores[~truth])]
    return float(np.mean(ordered))


def test_ranking_equals_closed_forms(noisy, embedded):
    test = embedded(noisy(), DIRECTIONS)
    row = measure(test, {"nodule": NODULE}).by_label["nodule"]
    truth = has_nodule(test.pairs)
    for name, score in (("present", present_scores), ("margin", margins)):
        values = score(test.encoder, test.images, [NODULE])[:, 0]
        assert row[f"auroc_{name}"].value == pytest.approx(auroc(values, truth))
        precision = row[f"average_precision_{name}"]
        assert precision.value == pytest.approx(average_precision_score(truth, values))
        assert precision.chance == pytest.approx(truth.mean())
    assert row["auroc_present"].chance == 0.5
    assert row["auroc_present"].low < row["auroc_present"].value < row["auroc_present"].high


def test_a_finding_of_a_handful_of_patients_is_said_to_be_one(noisy, embedded):
    pairs = noisy()
    rare = tuple(
        replace(one, findings=("rare",) if at < 3 else ()) for at, one in enumerate(pairs.studies)
    )
    notes = measure(embedded(replace(pairs, studies=rare), DIRECTIONS), {"rare": NODULE}).notes
    patients = len({study.patient_id for study in rare[:3]})
    assert f"interval too narrow, as only {patients} patients have or lack it: rare" in notes
    usual = measure(embedded(pairs, DIRECTIONS), {"nodule": NODULE}).notes
    assert not any("too narrow" in note for note in usual)


def test_calls_and_probabilities_are_the_calibrations(noisy, embedded):
    test = embedded(noisy(), DIRECTIONS)
    row = measure(test, {"nodule": CALIBRATED}).by_label["nodule"]
    truth = has_nodule(test.pairs)
    margin = margins(test.encoder, test.images, [NODULE])[:, 0]
    said, raw = expit(2 * margin - 1), expit(10 * margin)
    assert row["f1"].value == pytest.approx(f1_score(truth, said > 0.5))
    assert row["brier"].value == pytest.approx(brier_score_loss(truth, said))
    assert row["brier_uncalibrated"].value == pytest.approx(brier_score_loss(truth, raw))
    assert row["ece"].value != row["ece_uncalibrated"].value
    assert row["brier"].chance == pytest.approx(truth.mean() * (1 - truth.mean()))


def test_sigmoid_gives_probabilities_without_absent_prompts(noisy, embedded):
    test = embedded(noisy(), DIRECTIONS, scorer=Scorer("sigmoid", 5.0, -2.0))
    section = measure(test, {"nodule": Prompts(present=NODULE.present)})
    row, truth = section.by_label["nodule"], has_nodule(test.pairs)
    similarity = present_scores(test.encoder, test.images, [NODULE])[:, 0]
    raw = brier_score_loss(truth, expit(5 * similarity - 2))
    assert row["brier_uncalibrated"].value == pytest.approx(raw)
    assert section.points.keys() == {"reliability/uncalibrated"}
    assert not any("absent prompts" in note for note in section.notes)


def test_a_random_caller_of_the_same_rate_is_f1s_chance(noisy, embedded):
    test = embedded(noisy(count=2000), DIRECTIONS)
    row = measure(test, {"nodule": CALIBRATED}).by_label["nodule"]
    truth = has_nodule(test.pairs)
    said = expit(2 * margins(test.encoder, test.images, [NODULE])[:, 0] - 1) > 0.5
    rng = np.random.default_rng(0)
    random = [f1_score(truth, rng.permutation(said)) for _ in range(30)]
    assert row["f1"].chance == pytest.approx(np.mean(random), abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=100)
def test_the_calibration_error_is_the_mean_gap_of_the_bins(calls):
    probability, truth = (
        np.array([p + 0.5 for p, _ in calls]) / 100,
        np.array([t for _, t in calls]),
    )
    bins = np.floor(probability * BINS)
    gaps = [
        (bins == b).mean() * abs(probability[bins == b].mean() - truth[bins == b].mean())
        for b in np.unique(bins)
    ]
    assert expected_calibration_error(probability, truth) == pytest.approx(sum(gaps), abs=1e-5)


def test_the_macro_mean_is_over_the_labels_that_occur(pairs, embedded):
    data = pairs([(9, 1), (8, 1), (-3, 1), (1, 9)], [["nodule"], ["nodule", "mass"], [], ["mass"]])
    section = measure(embedded(data, DIRECTIONS), {"nodule": NODULE, "mass": MASS, "never": MASS})
    rows = section.by_label
    assert set(rows) == {"nodule", "mass"}
    assert section.values["auroc_present/macro"].value == pytest.approx(
        (rows["nodule"]["auroc_present"].value + rows["mass"]["auroc_present"].value) / 2
    )
    assert "not measured, as all or none of the studies have it: never" in section.notes
    assert "no decision and no probability without calibration: nodule, mass" in section.notes


def test_single_labels_are_called_by_the_nearest_present_prompts(pairs, embedded):
    vectors = [(9, 1), (1, 9), (9, 2), (1, 8), (2, 9), (9, 9)]
    findings = [["nodule"], ["mass"], ["mass"], ["mass"], ["nodule"], ["nodule", "mass"]]
    values = measure(
        embedded(pairs(vectors, findings), DIRECTIONS),
        {"nodule": Prompts(present=("A nodule.",)), "mass": MASS},
    ).values
    truth, called = [0, 1, 1, 1, 0], [0, 1, 0, 1, 1]
    accuracy, f1 = values["single_label/accuracy"], values["single_label/macro_f1"]
    assert accuracy.value == pytest.approx(accuracy_score(truth, called))
    assert f1.value == pytest.approx(f1_score(truth, called, average="macro"))
    assert (accuracy.n, accuracy.chance) == (5, 0.6)
    assert f1.chance == pytest.approx(f1_score(truth, [1] * 5, average="macro", zero_division=0))


def test_two_classes_are_all_studies_by_the_nearer_prompts(pairs, embedded):
    """As RSNA's challenge is scored: whoever has no pneumonia is the other class, ill or not."""
    vectors = [(9, 1), (-9, 1), (8, 2), (-8, 3), (-7, 2), (-5, 1)]
    findings = [["nodule"], ["nodule"], ["mass"], ["mass"], [], ["no finding"]]
    values = measure(embedded(pairs(vectors, findings), DIRECTIONS), {"nodule": NODULE}).by_label
    truth, called = [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0]
    accuracy, f1 = (values["nodule"][f"two_class_{name}"] for name in ("accuracy", "f1"))
    assert (accuracy.value, accuracy.n) == (accuracy_score(truth, called), 6)
    assert f1.value == f1_score(truth, called)
    assert accuracy.chance == pytest.approx(4 / 6)
    assert f1.chance == pytest.approx(1 / 3)


def test_without_absent_prompts_there_are_no_two_classes(noisy, embedded):
    row = measure(embedded(noisy(), DIRECTIONS), {"nodule": Prompts(present=NODULE.present)})
    assert "two_class_f1" not in row.by_label["nodule"]


def test_a_plain_mean_is_not_calibrated_and_calls_by_the_mean_of_the_cosines(pairs, embedded):
    """Prompts that disagree lose by a plain mean, and not by one of unit length."""
    vectors = [(6, 8), (8, 6), (1, 9), (9, 1)]
    test = embedded(pairs(vectors, [["nodule"], ["nodule"], ["mass"], ["mass"]]), SPREAD)
    prompts = {"nodule": CALIBRATED, "mass": MASS}
    counts = patient_counts(test.patients)
    unit, plain = (zero_shot(test, prompts, counts, mean) for mean in ("unit", "plain"))
    assert "f1" in unit.by_label["nodule"]
    assert "f1" not in plain.by_label["nodule"]
    assert "brier" not in plain.by_label["nodule"]
    images, texts = test.images, test.encoder.texts
    cosines = np.stack(
        [(images @ texts(CALIBRATED.present).T).mean(axis=1), images @ texts(MASS.present)[0]],
        axis=1,
    )
    truth = np.array([0, 0, 1, 1])
    expected = (cosines.argmax(axis=1) == truth).mean()
    assert plain.values["single_label/accuracy"].value == expected
    assert unit.values["single_label/accuracy"].value != expected


def test_what_was_never_labelled_is_no_negative(pairs, embedded):
    known = pairs([(9, 1), (-9, 1)], [["nodule"], []])
    todo = ManifestStudy("3", "3", "test", ("3.png",), "")
    more = Pairs(np.concatenate([known.images, known.images[:1]]), (*known.studies, todo))
    row = measure(embedded(more, DIRECTIONS), {"nodule": NODULE}).by_label["nodule"]
    assert (row["auroc_present"].n, row["auroc_present"].value) == (2, 1)


@pytest.mark.parametrize("prompts", [{}, {"nodule": NODULE}])
def test_without_labels_or_answers_nothing_is_measured(pairs, embedded, prompts):
    with pytest.raises(NotMeasured, match="label"):
        measure(embedded(pairs([(1, 0)], [[]]), DIRECTIONS), prompts)
