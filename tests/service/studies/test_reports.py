"""The report of a study in a folder or a tar, from the structured reports beside its images."""

import json
import random
from collections import Counter

import pytest
from PIL import Image

from service.cases.sources import open_source
from service.errors import StudyInvalid
from service.studies import samples
from service.studies.files import file_of
from service.studies.reports import report_of
from service.studies.samples import by_identity, samples_of_folder, studies_of
from service.studies.structured_report import read_report
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp
from tests.service.studies.test_sources import folder_of, found_in
from tests.service.studies.test_tars import tar_of
from tests.support.damage import CANARY, flip
from tests.support.structured_reports import (
    FINDINGS,
    plain_report,
    report_dataset,
    report_file,
    said,
    section,
    undefined_lengths,
)
from training.data.manifest import read_manifest

PNG = picture(Image.fromarray(ramp()), "PNG")
CLEAR = "FINDINGS:\nClear."
UNFINISHED = "structured reports that are unfinished or withdrawn"
REPLACED = "structured reports that a later one replaces"
LONE = "structured reports of studies without an image"
BESIDE = "structured reports of studies with a text"
OWN = "objects that this program made"
NO_TEXT = "structured reports without a radiologist's text"


def image(study_uid="1.2.3", patient="p1", **elements):
    return dicom_bytes(dicom_dataset(StudyInstanceUID=study_uid, PatientID=patient, **elements))


def report(text="Clear.", study_uid="1.2.3", **elements):
    return plain_report(text, StudyInstanceUID=study_uid, **elements)


def test_an_addendum_follows_the_report_without_whom_it_names():
    addendum = [section(("121078", "DCM", "Addendum"), said("Told Jane Doe of a nodule."))]
    files = {
        "IM": image(PatientName="Doe^Jane"),
        "SR1": report(),
        "SR2": report_file(*addendum, ContentTime="120000"),
    }
    passed = Counter()
    text = report_of(["IM"], ["SR2", "SR1"], files.__getitem__, passed)
    assert text == f"{CLEAR}\n\nADDENDUM:\nTold ___ ___ of a nodule."
    assert not passed


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize(
    ("files", "studies", "passed"),
    [
        (
            {"a/IM1": image(), "a/IM2": image(), "b/SR1": report()},
            {"a/IM1": ("1.2.3", "p1", 2, CLEAR)},
            {},
        ),
        (
            {"IM1": image(), "IM2": image("1.2.4"), "SR1": report("One."),
             "SR2": report("Two.", "1.2.4")},
            {"IM1": ("1.2.3", "p1", 1, "FINDINGS:\nOne."),
             "IM2": ("1.2.4", "p1", 1, "FINDINGS:\nTwo.")},
            {},
        ),
        (
            {"IM1": image(), "SR1": report("Old.", ContentTime="090000"), "SR2": report()},
            {"IM1": ("1.2.3", "p1", 1, CLEAR)},
            {REPLACED: 1},
        ),
        (
            {"IM1": image(), "SR1": report(CompletionFlag="PARTIAL"),
             "SR2": report(Manufacturer="ECLIP RADIOLOGY"), "SR3": report("", "1.2.3")},
            {"IM1": ("1.2.3", "p1", 1, None)},
            {UNFINISHED: 1, OWN: 1, NO_TEXT: 1},
        ),
        (
            {"IM1": image(), "SC": image(Manufacturer="ECLIP RADIOLOGY"), "SR": report()},
            {"IM1": ("1.2.3", "p1", 1, CLEAR)},
            {OWN: 1},
        ),
        (
            {"IM1": image(), "SR1": report(study_uid="1.2.9"), "SR2": report(study_uid="")},
            {"IM1": ("1.2.3", "p1", 1, None)},
            {LONE: 2},
        ),
        (
            {"IM1.dcm": image(), "IM1.txt": b"Mine.", "SR1": report(), "SR2": report()},
            {"IM1": ("1.2.3", "p1", 1, "Mine.")},
            {BESIDE: 2},
        ),
        (
            {"IM1.dcm": image(), "IM1.txt": b" \n", "SR1": report()},
            {"IM1": ("1.2.3", "p1", 1, CLEAR)},
            {},
        ),
        (
            {"IM1": image(), "SR1": report(PatientID="p2")},
            {"IM1": "The DICOM files of this study name several patients. "
             "Correct their PatientID."},
            {},
        ),
    ],
    ids=[
        "a report in another folder", "two studies", "two versions", "none that counts",
        "a picture of ours", "of no image", "a text beside it", "a blank text", "two patients",
    ],
)  # fmt: skip
def test_a_study_has_the_report_of_its_uid(tmp_path, kind, files, studies, passed):
    path = (
        folder_of(tmp_path / "f", files)
        if kind == "folder"
        else tar_of(tmp_path / "t.tar", files.items())
    )
    found, others = found_in(path)
    without_suffix = {place.removesuffix(".dcm"): study for place, study in found.items()}
    assert (without_suffix, others) == (studies, passed)


@pytest.mark.parametrize(
    ("record", "text", "passed"),
    [({"report": "Mine."}, "Mine.", {BESIDE: 1}), ({"view": "PA"}, CLEAR, {})],
)
def test_a_record_with_a_report_comes_before_structured_reports(tmp_path, record, text, passed):
    files = {"k.dcm": image(), "k.json": json.dumps(record).encode(), "SR": report()}
    found, others = found_in(tar_of(tmp_path / "t.tar", files.items()))
    assert (found["k"], others) == (("1.2.3", "p1", 1, text), passed)


def test_a_report_of_two_studies_of_records_is_of_neither(tmp_path):
    records = {f"{key}.json": json.dumps({"study_id": key}).encode() for key in "ab"}
    files = {"a.dcm": image(), "b.dcm": image(), **records, "SR": report(), "z.png": PNG}
    found, _ = found_in(tar_of(tmp_path / "t.tar", files.items()))
    assert "also that of other studies" in found["a"]
    assert "also that of other studies" in found["b"]
    assert found["z"] == ("z", None, 1, None)


def test_what_the_headers_of_reports_and_images_name_is_removed_from_the_report(tmp_path):
    text = (
        "Jane Doe was seen by Dr. Roe, image by Poe at St. Mary's, born 1 May 1950, MRN-77123, "
        "phone 030 123456. Clear lungs."
    )
    files = {
        "IM1": image(OperatorsName="Poe^Ann", PatientTelephoneNumbers="030/123-456"),
        "IM2": image(InstitutionName="St Mary's"),
        "IM3.png": PNG,
        "SR1": report(text, PatientName="DOE^JANE", OtherPatientIDs="MRN 77123"),
        "SR2": report("Old.", ContentTime="090000", ReferringPhysicianName="Roe"),
    }
    found, _ = found_in(folder_of(tmp_path, files))
    assert found["IM1"][3] == (
        "FINDINGS:\n___ ___ was seen by Dr. ___, image by ___ at ___, born ___, ___, phone ___. "
        "Clear lungs."
    )


def test_a_picture_of_the_same_name_in_a_tar_names_nobody(tmp_path):
    files = {"k.dcm": image(), "k.png": PNG, "SR": report()}
    found, _ = found_in(tar_of(tmp_path / "t.tar", files.items()))
    assert found["k"] == ("1.2.3", "p1", 2, CLEAR)


def test_files_in_memory_are_read_as_a_folders_and_each_report_once():
    files = {"1": image(), "2": image(), "3": report("Old.", ContentTime="090000"), "4": report()}
    reads = Counter()

    def read(name):
        reads[name] += 1
        return files[name]

    parts = [file_of(name, lambda limit, data=data: data[:limit]) for name, data in files.items()]
    passed = Counter()
    (found,) = studies_of(by_identity(samples_of_folder(parts)), read, passed)
    assert found.study.report == CLEAR
    assert passed == {REPLACED: 1}
    assert (reads["3"], reads["4"]) == (1, 1)
    (found,) = studies_of(by_identity(samples_of_folder(parts)), read)
    assert found.study.report == CLEAR


def test_images_are_not_read_for_a_study_without_a_report_that_counts(monkeypatch):
    monkeypatch.delattr(samples, "report_of")
    parts = [file_of("1", lambda limit: image()[:limit])]
    (found,) = studies_of(by_identity(samples_of_folder(parts)), {}.__getitem__)
    assert found.study.images == ("1",)


def test_a_damaged_report_refuses_its_study_and_no_other(tmp_path):
    files = {"IM1": image(), "SR1": report()[:-9], "IM2": image("1.2.4")}
    found, _ = found_in(folder_of(tmp_path, files))
    assert "damaged or truncated" in found["IM1"]
    assert found["IM2"] == ("1.2.4", "p1", 1, None)


def test_service_and_training_read_the_same_report(tmp_path):
    folder = folder_of(tmp_path, {"IM1": image(), "SR1": report()})
    (entry,) = open_source(folder).entries
    (study,) = read_manifest(folder)
    assert entry.study.record.report == CLEAR
    assert study.report == CLEAR


MARKED = {
    "PatientName": f"{CANARY}^{CANARY}",
    "StudyDescription": CANARY * 3,
    "AccessionNumber": CANARY * 3,
}


def whole(*, undefined):
    dataset = report_dataset(
        section(FINDINGS, *(said(f"Line {n} {CANARY}.") for n in range(8))), **MARKED
    )
    return dicom_bytes(undefined_lengths(dataset) if undefined else dataset)


def outcome(data):
    """The text of a report; an error must be of a known type and quote nothing."""
    try:
        return read_report(data).text
    except StudyInvalid as error:
        said_of_it = error.detail
    assert CANARY not in said_of_it
    return None


@pytest.mark.slow
@pytest.mark.parametrize("undefined", [False, True])
def test_a_report_cut_anywhere_is_refused_or_has_no_text(undefined):
    data = whole(undefined=undefined)
    texts = {outcome(data[:end]) for end in range(132, len(data), 7)}
    assert texts <= {None, "", outcome(data)}


@pytest.mark.slow
@pytest.mark.parametrize("undefined", [False, True])
def test_a_report_with_any_bit_flipped_is_read_or_refused(undefined):
    data, rng = whole(undefined=undefined), random.Random(21)
    for _ in range(500):
        outcome(flip(data, rng.randrange(132 * 8, len(data) * 8)))


def nested(levels, *, undefined):
    item = said("Deep.")
    for _ in range(levels):
        item = section(("1", "99X", "Level"), item)
    dataset = report_dataset(item)
    return dicom_bytes(undefined_lengths(dataset) if undefined else dataset)


@pytest.mark.parametrize("undefined", [False, True])
def test_a_report_of_many_levels_is_refused(undefined):
    assert "Deep." in read_report(nested(20, undefined=undefined)).text
    with pytest.raises(StudyInvalid, match="levels"):
        read_report(nested(40, undefined=undefined))


@pytest.mark.slow
def test_a_report_of_many_items_or_bytes_is_refused():
    with pytest.raises(StudyInvalid, match="more elements, items or bytes"):
        read_report(report_file(*[said("x", None)] * 20_000))
    with pytest.raises(StudyInvalid, match="more elements, items or bytes"):
        read_report(report_file(said("x" * 2**22)))
    with pytest.raises(StudyInvalid, match="131,072 characters"):
        read_report(report_file(said("x" * 2**18)))


def test_text_of_another_character_set_than_the_named_one_is_refused():
    data = report("Gr~~se.").replace(b"Gr~~se", b"Gr\xf6\xdfse")
    with pytest.raises(StudyInvalid, match="SpecificCharacterSet"):
        read_report(data)
