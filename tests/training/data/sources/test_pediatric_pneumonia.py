from collections import Counter

import pytest

from training.data.sources import read_source
from training.data.sources.pediatric_pneumonia import studies
from training.data.study import DataError

ROWS = [
    {"filename": "a.jpg", "label": "normal", "subtype": "", "patient": "IM-1"},
    {"filename": "b.jpg", "label": "pneumonia", "subtype": "virus", "patient": "person1"},
    {"filename": "gone.jpg", "label": "pneumonia", "subtype": "bacteria", "patient": "person2"},
]


@pytest.fixture
def root(write):
    return write({"labels.csv": ROWS, "images/a.jpg": None, "images/b.jpg": None})


def test_each_image_is_a_study_without_a_report(root, read):
    found, skipped = read(studies(root))
    assert [(s.study_id, s.patient_id, s.report) for s in found.values()] == [
        ("a", "IM-1", ""),
        ("b", "person1", ""),
    ]
    assert found["a"].images == ("images/a.jpg",)
    assert skipped == {"no image file": 1}


def test_what_is_normal_has_no_finding_and_the_rest_pneumonia(root, read):
    found, _ = read(studies(root))
    assert [study.findings for study in found.values()] == [("no finding",), ("pneumonia",)]
    assert [study.metadata for study in found.values()] == [{}, {"subtype": "virus"}]


def test_an_unknown_label_is_refused(write):
    root = write({"labels.csv": [ROWS[0] | {"label": "other"}]})
    said = r"labels\.csv, row 2, column label: 'other' is none of normal, pneumonia"
    with pytest.raises(DataError, match=said):
        list(studies(root))


def test_labels_of_another_case_are_the_same(write, read):
    table = [ROWS[1] | {"label": " Pneumonia", "subtype": "Virus"}]
    found, _ = read(studies(write({"labels.csv": table, "images/b.jpg": None})))
    assert found["b"].findings == ("pneumonia",)
    assert found["b"].metadata == {"subtype": "virus"}


def test_the_published_subset_is_half_normal(shared_data, read):
    root = shared_data / "pediatric_pneumonia"
    if not root.is_dir():
        pytest.skip(f"pediatric_pneumonia is not in {shared_data}")
    found, skipped = read(read_source("pediatric_pneumonia", root))
    assert not skipped
    assert Counter(study.findings for study in found.values()) == {
        ("no finding",): 250,
        ("pneumonia",): 250,
    }
