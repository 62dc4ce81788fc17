"""The latest earlier study of the patient whom the files name is the prior of a report."""

from dataclasses import replace

import pytest

from service.cases.own_ids import own_ids
from service.cases.records import NewStudy, StudyRecord
from service.reporting.background import read_background
from service.reporting.evidence import Subject
from service.reporting.replay import written_again
from service.reporting.report import ReportRequest
from service.settings import Settings
from service.wiring import open_services
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.writers import Scripted

pytestmark = pytest.mark.slow  # opens a library of its own for each test

NOON = 29_000_000
"""Minutes from 1970 on, of the study that is reported."""
DAY = 24 * 60


@pytest.fixture
def reporter(tmp_path):
    with open_services(Settings(data_dir=tmp_path)) as wired:
        yield wired.reporter


@pytest.fixture
def put(reporter, deadline):
    def one(study_id, moment, said="A nodule.", patient_id="one"):
        record = StudyRecord(patient_id=patient_id, report=f"FINDINGS: {said}")
        return reporter.library.put(NewStudy(study_id, record, (), moment=moment), deadline)

    return one


def prior(reporter, subject):
    background = read_background(reporter.library, subject)
    return background.prior, background.prior_from


def test_the_latest_of_the_earlier_studies_is_read(reporter, put):
    put("long ago", NOON - 900 * DAY, "A mass.")
    put("before", NOON - DAY)
    put("at once", NOON, "An effusion.")
    put("later", NOON + 1, "A fracture.")
    put("undated", None, "Clear lungs.")
    put("other", NOON - 1, "Cardiomegaly.", patient_id="two")
    asked = Subject("one", "new", moment=NOON)
    assert prior(reporter, asked) == (("A nodule.",), "library")
    assert prior(reporter, replace(asked, study_id="before")) == (("A mass.",), "library")
    assert prior(reporter, replace(asked, prior_study_id="later")) == (("A fracture.",), "request")
    assert prior(reporter, replace(asked, patient_id=None, study_id="later")) == (
        ("A nodule.",),
        "library",
    )
    for nobody in (
        replace(asked, moment=None),
        replace(asked, patient_id=None),
        replace(asked, patient_id="two", study_id="before"),  # two patients: whose is it?
        replace(asked, moment=NOON - 900 * DAY),
    ):
        assert prior(reporter, nobody) == ((), None)


def test_an_id_that_very_many_studies_share_is_no_patient(reporter, put, monkeypatch):
    put("before", NOON - DAY)
    put("long ago", NOON - 2 * DAY)
    asked = Subject("one", moment=NOON)
    monkeypatch.setattr("service.reporting.background.MOST_STUDIES", 2)
    assert prior(reporter, asked)[1] == "library"
    monkeypatch.setattr("service.reporting.background.MOST_STUDIES", 1)
    assert prior(reporter, asked) == ((), None)


def test_a_study_with_nothing_to_read_makes_room_for_an_earlier_one(reporter, put, deadline):
    put("long ago", NOON - 900 * DAY, "A mass.")
    bare = StudyRecord(patient_id="one", report="INDICATION: Cough.")
    reporter.library.put(NewStudy("bare", bare, (), moment=NOON - 1), deadline)
    assert prior(reporter, Subject("one", moment=NOON)) == (("A mass.",), "library")


def test_the_report_names_it_and_is_written_again_with_it(reporter, put, image, deadline):
    before = put("before", NOON - DAY)
    put("else", NOON - DAY, "No pneumothorax.", patient_id="two")
    writing = replace(reporter, language_model=Scripted("No pneumothorax."))
    request = ReportRequest(subject=Subject("one", "new", moment=NOON))
    written = writing.report([image], request, deadline)
    assert (written.prior_study_id, written.prior_from) == (before.study_id, "library")
    assert written.prior == ("A nodule.",)
    record = reporter.audit.find(written.provenance.record)
    assert record.prior_study_id == before.study_id
    assert str(NOON) not in record.model_dump_json()
    put("between", NOON - 1, "A fracture.")
    assert written_again(record, writing, None, None, deadline).same
    reporter.library.delete("before")
    assert written_again(record, writing, None, None, deadline).changes == (
        "the prior study was changed or deleted since",
    )


def test_what_had_no_prior_is_written_again_without_one(reporter, put, image, deadline):
    put("else", NOON, "No pneumothorax.", patient_id="two")
    writing = replace(reporter, language_model=Scripted("No pneumothorax."))
    request = ReportRequest(subject=Subject("one", "new", moment=NOON))
    written = writing.report([image], request, deadline)
    assert (written.prior_study_id, written.prior_from) == (None, None)
    put("before", NOON - DAY)
    record = reporter.audit.find(written.provenance.record)
    assert written_again(record, writing, None, None, deadline).same


def file(**elements):
    return dicom_bytes(dicom_dataset(PatientID="one", StudyInstanceUID="1.2.3", **elements))


def test_a_study_without_a_time_is_earlier_than_none_of_its_day():
    day = {"StudyDate": "20260304"}
    timed, untimed = (
        own_ids([file(**day, **time)], None, None) for time in ({"StudyTime": "1200"}, {})
    )
    assert untimed.earliest < timed.earliest == timed.latest < untimed.latest
    assert Subject.of(untimed).moment == untimed.earliest
    ids = own_ids([file(**day, StudyTime="1300"), file(**day, StudyTime="1200")], None, None)
    assert (ids.earliest, ids.latest) == (timed.earliest, timed.earliest + 60)
    assert own_ids([file()], None, None).latest is None
