from dataclasses import replace

import pytest

from training.data.splits import LeakageError, check_disjoint, split_studies
from training.data.study import DataError, ManifestStudy, split_of

WHAT_TO_DO = "Correct the splits in the manifest"
ONE = ManifestStudy("s1", "p1", "a", ("1.png",), "Normal.")
OTHER = ManifestStudy("s2", "p2", "a", ("2.png",), "Normal.")


def test_splits_that_share_nothing_pass():
    check_disjoint({"train": [ONE, ONE], "validation": [], "test": [OTHER]})


@pytest.mark.parametrize(
    ("leak", "shared"),
    [
        ({"patient_id": "p1", "source": "b"}, "1 patients, 0 studies, 0 images"),
        ({"study_id": "s1"}, "0 patients, 1 studies, 0 images"),
        ({"images": ("3.png", "1.png")}, "0 patients, 0 studies, 1 images"),
    ],
    ids=["patient", "study", "image"],
)
def test_a_leak_is_counted_and_nobody_is_named(leak, shared):
    with pytest.raises(LeakageError) as caught:
        check_disjoint({"train": [ONE], "test": [replace(OTHER, **leak)]})
    assert str(caught.value) == f"train and test share {shared}. {WHAT_TO_DO}"


def test_every_pair_of_splits_is_compared():
    splits = {"train": [ONE], "validation": [ONE], "test": [ONE]}
    with pytest.raises(LeakageError, match=r"train and val.*; train and test.*; val.* and test"):
        check_disjoint(splits)


def test_studies_of_one_name_in_two_data_sets_are_two():
    check_disjoint({"train": [ONE], "test": [replace(OTHER, study_id="s1", source="b")]})


def test_a_published_split_comes_before_the_hash():
    fractions = (1.0, 0.0, 0.0)
    published = replace(ONE, split="test")
    splits = split_studies([published, OTHER], fractions)
    assert splits == {"train": [OTHER], "validation": [], "test": [published]}


def test_without_a_published_split_the_patient_decides():
    studies = [replace(ONE, study_id=str(n), patient_id=str(n), images=()) for n in range(30)]
    splits = split_studies(studies, (0.5, 0.25, 0.25))
    assert sum(map(len, splits.values())) == 30
    for split, members in splits.items():
        assert members
        assert {split_of(s.patient_id, (0.5, 0.25, 0.25)) for s in members} == {split}


def test_a_patient_whose_studies_disagree_on_the_split_is_a_leak():
    with pytest.raises(LeakageError, match="train and test share 1 patients"):
        split_studies(
            [replace(ONE, split="test"), replace(OTHER, patient_id="p1")], (1.0, 0.0, 0.0)
        )


def test_a_study_that_is_listed_twice_is_named():
    studies = [ONE, OTHER, replace(ONE, images=("3.png",))]
    with pytest.raises(DataError, match=r"1 study ids .* more than once, such as 's1'"):
        split_studies(studies, (1, 0, 0))
    assert len(split_studies([ONE, replace(ONE, source="b")], (1, 0, 0))["train"]) == 2
