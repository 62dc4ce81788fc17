from dataclasses import replace

import pytest

from training.data.labels import as_uncertain, is_labelled, present, resolved, uncertain
from training.data.study import ManifestStudy

STUDY = ManifestStudy("s1", "p1", "test", (), "", findings=("Edema", "mass"))


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({}, set()),
        ({"uncertain": ""}, set()),
        ({"uncertain": "edema"}, {"edema"}),
        ({"uncertain": "edema; nodule"}, {"edema", "nodule"}),
        ({"uncertain": " Edema;Pleural  Effusion ;"}, {"edema", "pleural effusion"}),
        (as_uncertain(["Edema", "lung lesion"]), {"edema", "lung lesion"}),
        (as_uncertain([]), set()),
    ],
)
def test_uncertain_findings_are_named_in_the_metadata(metadata, names):
    assert uncertain(replace(STUDY, metadata=metadata)) == names


def test_findings_are_named_in_lower_case():
    assert present(replace(STUDY, findings=(" Pleural\xa0 Effusion", "MASS"))) == {
        "pleural effusion",
        "mass",
    }
    assert present(replace(STUDY, findings=None)) == set()


@pytest.mark.parametrize(
    ("policy", "found", "doubtful"),
    [
        ("ignored", {"edema", "mass"}, {"edema", "nodule"}),
        ("present", {"edema", "mass", "nodule"}, set()),
        ("absent", {"mass"}, set()),
    ],
)
def test_a_policy_decides_what_is_uncertain(policy, found, doubtful):
    study = replace(STUDY, metadata={"uncertain": "edema; nodule", "age": 61})
    one = resolved(study, policy)
    assert (present(one), uncertain(one)) == (found, doubtful)
    assert one.metadata["age"] == 61


@pytest.mark.parametrize("policy", ["ignored", "present", "absent"])
def test_no_policy_labels_a_study_that_nobody_labelled(policy):
    study = replace(STUDY, findings=None, metadata={"uncertain": "edema"})
    assert not is_labelled(resolved(study, policy))
