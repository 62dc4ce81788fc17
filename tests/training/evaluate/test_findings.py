from dataclasses import replace

import pytest

from training.data.labels import is_labelled
from training.data.study import ManifestStudy
from training.evaluate.findings import Findings


def study(*findings, **metadata):
    return ManifestStudy("1", "p", "test", (), "", findings=findings, metadata=metadata)


def test_what_is_uncertain_or_never_labelled_is_unknown():
    unlabelled = replace(study("nodule"), findings=None)
    studies = [study("nodule"), study(uncertain="nodule; mass"), unlabelled]
    findings = Findings.of(studies, ["nodule", "mass"])
    assert findings.there.tolist() == [[True, False], [False, False], [False, False]]
    assert findings.known.tolist() == [[True, True], [False, False], [False, False]]


@pytest.mark.parametrize(
    ("findings", "metadata", "labelled"),
    [
        (None, {}, False),
        ((), {}, True),
        (("nodule",), {}, True),
        ((), {"labelled": False}, False),
        ((), {"labelled": True}, True),
        (None, {"labelled": True}, False),
    ],
)
def test_no_findings_are_not_the_same_as_no_labels(findings, metadata, labelled):
    one = replace(study(), findings=findings, metadata=metadata)
    assert is_labelled(one) == labelled
    assert Findings.of([one], ["mass"]).known.tolist() == [[labelled]]


def test_a_label_needs_studies_with_it_and_without():
    findings = Findings.of([study("nodule", "mass"), study("mass")], ["nodule", "mass", "rib"])
    assert [findings.answered(at) for at in range(3)] == [True, False, False]
    assert findings.unanswered() == (
        "not measured, as all or none of the studies have it: mass, rib",
    )


def test_no_labels_ask_nothing():
    findings = Findings.of([study("nodule")], [])
    assert findings.there.shape == (1, 0)
    assert findings.unanswered() == ()
