"""What is unknown of a study counts neither for a finding nor against it, in every measure."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from service.bundle.labels import Prompts
from training.data.pairs import Pairs
from training.evaluate.bootstrap import patient_counts
from training.evaluate.calibration import calibrate
from training.evaluate.linear_probe import linear_probe
from training.evaluate.result import NotMeasured
from training.evaluate.retrieval import retrieval
from training.evaluate.suite import run_suite
from training.evaluate.zero_shot import zero_shot

NODULE = {"Nodule": Prompts(present=("Nodule.",), absent=("None.",))}
DIRECTIONS = {"Nodule.": (1, 0), "None.": (-1, 0)}


def also(pairs: Pairs, count: int, **changes) -> Pairs:
    """The pairs, and as many again as `count` says of other patients, with other labels."""
    more = [
        replace(study, study_id=f"more {at}", patient_id=f"more {at}", **changes)
        for at, study in enumerate(pairs.studies[:count])
    ]
    images = np.concatenate([pairs.images, pairs.images[:count]])
    return Pairs(images, (*pairs.studies, *more))


def numbers(measurement):
    """Every number but its interval, and but those of a probe that draws other patients."""
    rows = {"": measurement.values} | measurement.by_label
    return {
        (name, key): (pytest.approx(one.value), one.n, one.chance and pytest.approx(one.chance))
        for name, row in rows.items()
        for key, one in row.items()
        if one.sd is None
    }


MEASURES = {
    "zero_shot": lambda test: zero_shot(test, NODULE, patient_counts(test.patients)),
    "linear_probe": lambda test: linear_probe(test, test, tuple(NODULE)),
    "class precision": lambda test: retrieval(test, tuple(NODULE)),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize(
    ("unknown", "note"),
    [
        ({"findings": None}, "left out: 40 unlabelled studies, 0 uncertain labels of others"),
        (
            {"findings": (), "metadata": {"labelled": False}},
            "left out: 40 unlabelled studies, 0 uncertain labels of others",
        ),
        (
            {"findings": (), "metadata": {"uncertain": "Nodule"}},
            "left out: 0 unlabelled studies, 40 uncertain labels of others",
        ),
        (
            {"findings": ("nodule",), "metadata": {"uncertain": "mass;nodule "}},
            "left out: 0 unlabelled studies, 40 uncertain labels of others",
        ),
    ],
    ids=["unlabelled", "marked as in version 0.1", "uncertain", "uncertain and listed"],
)
def test_what_is_unknown_changes_no_number_and_is_counted(noisy, embedded, measure, unknown, note):
    known = embedded(noisy(count=120), DIRECTIONS)
    more = embedded(also(known.pairs, 40, **unknown), DIRECTIONS)
    before, after = measure(known), measure(more)
    assert numbers(after) == numbers(before)
    assert any(each.endswith(note) for each in after.notes)
    assert not any("left out: " in each for each in measure(known).notes)


def test_calibration_is_fitted_to_what_is_known(noisy, embedded):
    known = embedded(noisy(count=120), DIRECTIONS)
    more = embedded(also(known.pairs, 40, findings=None), DIRECTIONS)
    assert calibrate(more, NODULE) == calibrate(known, NODULE)


def test_studies_that_nobody_labelled_measure_nothing(noisy, embedded):
    pairs = noisy(count=20)
    studies = tuple(replace(study, findings=None) for study in pairs.studies)
    with pytest.raises(NotMeasured, match="nobody labelled these studies"):
        MEASURES["zero_shot"](embedded(replace(pairs, studies=studies), DIRECTIONS))


@pytest.mark.parametrize("written", ["nodule", "Nodule", " NODULE "])
def test_findings_are_the_labels_whatever_their_case(noisy, embedded, written):
    pairs = noisy(count=60)
    other = [replace(s, findings=tuple(written for _ in s.findings)) for s in pairs.studies]
    changed = replace(pairs, studies=tuple(other))
    one, two = (MEASURES["zero_shot"](embedded(each, DIRECTIONS)) for each in (pairs, changed))
    assert one == two


@pytest.mark.parametrize(
    ("policy", "counted"), [("ignored", None), ("present", True), ("absent", False)]
)
def test_uncertain_findings_count_as_the_policy_says(noisy, encoder, policy, counted):
    """U-Ignore, U-Ones and U-Zeros of Irvin et al. 2019, by scikit-learn on the same studies."""
    pairs = noisy(count=80)
    doubtful = [
        replace(study, findings=(), metadata={"uncertain": "nodule"})
        for study in pairs.studies[:20]
    ]
    test = replace(pairs, studies=(*doubtful, *pairs.studies[20:]))
    plane = encoder(DIRECTIONS)
    result = run_suite(plane, test, None, NODULE, measures=["zero_shot"], uncertain_as=policy)
    truth = [counted] * 20 + [bool(study.findings) for study in pairs.studies[20:]]
    score = plane.images(pairs.images) @ plane.texts(["Nodule."])[0]
    kept = [at for at, there in enumerate(truth) if there is not None]
    row = result.sections["zero_shot"].by_label["Nodule"]
    expected = [truth[at] for at in kept], score[kept]
    assert row["auroc_present"].value == pytest.approx(roc_auc_score(*expected))
    assert row["average_precision_present"].value == pytest.approx(
        average_precision_score(*expected)
    )
    assert row["auroc_present"].n == len(kept)
    assert result.about["uncertain labels"] == f"20, {policy}"
    assert result.about["test studies without labels"] == 0
