"""Compares asked values with found ones."""

import pytest
from pydicom.dataset import Dataset

from service.pacs.matching import matches, values_of


@pytest.mark.parametrize(
    ("keyword", "wanted", "found", "expected"),
    [
        ("ModalitiesInStudy", ["CR", "DX"], ["SR", "DX"], True),
        ("ModalitiesInStudy", ["CR"], ["SR"], False),
        ("ModalitiesInStudy", ["CR"], [], False),
        ("BodyPartExamined", ["chest"], ["CHEST"], True),
        ("BodyPartExamined", ["CHEST"], ["CHEST PA"], False),
        ("StudyDescription", ["*chest*"], ["XR Chest (PA)"], True),
        ("StudyDescription", ["XR (?A)"], ["XR (PA)"], True),
        ("StudyDescription", ["XR (?A)"], ["XR PPA"], False),
        ("StudyDate", ["20260101-20260131"], ["20260131"], True),
        ("StudyDate", ["20260101-20260131"], ["20260201"], False),
        ("StudyDate", ["20260101-"], ["20260201"], True),
        ("StudyDate", ["-20260101"], ["20260201"], False),
        ("StudyDate", ["20260201"], ["20260201"], True),
        ("StudyTime", ["0800-12"], ["123000.5"], True),
        ("StudyTime", ["0800-12"], ["130000"], False),
        ("StudyID", ["1-2"], ["1-2"], True),
    ],
)
def test_a_value_matches_as_the_standard_says(keyword, wanted, found, expected):
    assert matches(keyword, wanted, found) is expected


def test_empty_and_missing_attributes_have_no_values():
    answer = Dataset()
    answer.Modality, answer.ModalitiesInStudy = "", ["CR", "", "DX"]
    assert values_of(answer, "Modality") == []
    assert values_of(answer, "ModalitiesInStudy") == ["CR", "DX"]
    assert values_of(answer, "BodyPartExamined") == []
