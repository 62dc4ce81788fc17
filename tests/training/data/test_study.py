from dataclasses import replace

import pytest

from training.data.manifest import read_manifest
from training.data.study import (
    DataError,
    Gaze,
    ManifestStudy,
    split_of,
    write_studies,
)

STUDY = ManifestStudy(
    study_id="s1",
    patient_id="p1",
    source="phantom",
    images=("images/s1.png",),
    report="FINDINGS: Überblick. IMPRESSION: Normal.",
    view="PA",
    findings=("nodule",),
    gaze=(
        Gaze((0.25, 0.5), (0.5, 0.75), (120.0, 300.0)),
        Gaze((0.1,), (0.9,), (80.0,), ((0.04, 0.05),), ((0.0, 0.25, 0.5, 1.0),)),
    ),
    metadata={"age": 61, "ratio": 0.5, "portable": False, "site": "A"},
)


def test_a_manifest_reads_back_what_was_written(tmp_path):
    path = tmp_path / "studies.jsonl"
    studies = [STUDY, replace(STUDY, study_id="s2", gaze=(), findings=(), split="test")]
    write_studies(path, studies)
    assert list(read_manifest(path)) == studies


def test_findings_gaze_and_split_are_left_out_of_the_record_where_there_is_none(tmp_path):
    path = tmp_path / "studies.jsonl"
    without = replace(STUDY, findings=None, gaze=())
    write_studies(path, [without, replace(STUDY, split="test")])
    none, all_three = path.read_text("utf-8").splitlines()
    for name in ('"findings"', '"gaze"', '"split"'):
        assert name not in none
        assert name in all_three


@pytest.mark.parametrize(
    ("field", "findings"),
    [("", None), (',"findings":null', None), (',"findings":[]', ()), (',"findings":["a"]', ("a",))],
)
def test_findings_that_are_absent_or_null_are_unlabelled(tmp_path, field, findings):
    path = tmp_path / "studies.jsonl"
    line = '{"study_id":"s","patient_id":"p","source":"x","images":[],"report":""'
    path.write_text(f"{line}{field}}}\n", "utf-8")
    assert next(read_manifest(path)).findings == findings


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        '{"study_id": "s2"}',
        '{"study_id":true,"patient_id":"p","source":"x","images":[],"report":"","view":"PA"}',
        '{"study_id":"s","patient_id":"p","source":"x","images":[],"report":"","view":"","x":1}',
        '{"study_id":"s","patient_id":"p","source":"x","images":[],"report":"","view":"",'
        '"gaze":[{"x":[0.5],"y":[],"duration":[1]}]}',
        '{"study_id":"s","patient_id":"p","source":"x","images":[],"report":"","view":"",'
        '"gaze":{"x":[0.5],"y":[0.5],"duration":[1]}}',
        '{"study_id":"s","patient_id":"p","source":"x","images":[],"report":"","view":"",'
        '"metadata":{"nested":{}}}',
        '{"study_id":"s","patient_id":"p","source":"x","images":[],"report":"","view":"",'
        '"split":"validate"}',
    ],
    ids=[
        "syntax",
        "no patient",
        "type",
        "unknown key",
        "ragged gaze",
        "one gaze",
        "nested metadata",
        "unknown split",
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path, line):
    path = tmp_path / "studies.jsonl"
    write_studies(path, [STUDY])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match="line 2"):
        list(read_manifest(path))


@pytest.mark.parametrize(
    ("x", "y", "duration"),
    [
        ((0.5,), (0.5,), ()),
        ((1.1,), (0.5,), (1.0,)),
        ((0.5,), (float("nan"),), (1.0,)),
        ((0.5,), (0.5,), (-1.0,)),
        ((0.5,), (0.5,), (float("inf"),)),
    ],
)
def test_gaze_refuses_values_that_are_no_fixations(x, y, duration):
    with pytest.raises(ValueError, match=r"must"):
        Gaze(x, y, duration)


@pytest.mark.parametrize(
    ("degree", "shown"),
    [
        (((0.1, 0.1),) * 2, ()),
        (((0.1, 0.0),), ()),
        (((0.1, float("nan")),), ()),
        ((), ((0.5, 0.0, 0.5, 1.0),)),
        ((), ((0.0, 0.0, 1.1, 1.0),)),
        ((), ((0.0, 0.0, 1.0, 1.0),) * 2),
    ],
)
def test_gaze_refuses_what_nobody_can_have_seen(degree, shown):
    with pytest.raises(ValueError, match=r"must"):
        Gaze((0.5,), (0.5,), (1.0,), degree, shown)


def test_splits_take_their_fractions_of_the_patients():
    splits = [split_of(f"patient-{i}", (0.7, 0.2, 0.1)) for i in range(4000)]
    shares = [splits.count(name) / 4000 for name in ("train", "validation", "test")]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


def test_a_patient_stays_in_one_split_until_the_salt_changes():
    patients = [f"patient-{i}" for i in range(200)]
    once = [split_of(patient) for patient in patients]
    assert once == [split_of(patient) for patient in patients]
    assert once != [split_of(patient, salt="other") for patient in patients]
    assert split_of("p1") == "validation"


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.1, -0.1, 0.0)])
def test_fractions_that_are_no_partition_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions"):
        split_of("p1", fractions)


def test_a_bad_line_is_named_without_its_values(tmp_path):
    path = tmp_path / "studies.jsonl"
    path.write_text('{"study_id": "s1", "patient_id": ["Jane Doe"], "source": "x"}\n')
    with pytest.raises(DataError, match=r"line 1: patient_id: .*string") as caught:
        list(read_manifest(path))
    assert "Doe" not in str(caught.value)
