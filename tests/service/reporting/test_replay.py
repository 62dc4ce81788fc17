"""A report is written again from what the audit log has of it; what changed since is said."""

from dataclasses import replace

import pytest

from service.cases.records import NewStudy, StudyRecord
from service.cases.schema import CaseFilter
from service.errors import LlmUnavailable, RequestMalformed
from service.reporting.evidence import Subject
from service.reporting.prompt import Prompt
from service.reporting.replay import Replay, written_again
from service.reporting.report import ReportRequest
from service.settings import Settings
from service.wiring import open_services
from tests.support.writers import Failing, Scripted

pytestmark = pytest.mark.slow  # opens a library of its own for each test

REPORTS = {
    "s1": "FINDINGS: No pneumothorax. Small left pleural effusion.",
    "s2": "FINDINGS: No pneumothorax. The heart is enlarged.",
    "s3": "FINDINGS: No pneumothorax. Small left pleural effusion.",
}


@pytest.fixture
def reporter(tmp_path, deadline):
    with open_services(Settings(data_dir=tmp_path)) as wired:
        for study_id, report in REPORTS.items():
            wired.library.put(NewStudy(study_id, StudyRecord(report=report), ()), deadline)
        yield wired.reporter


@pytest.fixture
def recorded(reporter, image, deadline):
    def record(request=None, by=reporter):
        written = by.report([image], request or ReportRequest(), deadline)
        return reporter.audit.find(written.provenance.record)

    return record


@pytest.fixture
def again(reporter, deadline):
    def write(record, by=reporter, indication=None, comparison=None):
        return written_again(record, by, indication, comparison, deadline)

    return write


def test_the_same_evidence_gives_the_same_report(recorded, again):
    replay = again(recorded(ReportRequest(subject=Subject("p9", "s2"))))
    assert (replay.same, replay.changes) == (True, ())


@pytest.mark.parametrize("report", [None, "FINDINGS: A mass.", REPORTS["s2"]])
def test_a_prior_study_is_read_again_and_its_loss_is_told(
    reporter, recorded, again, deadline, report
):
    def put(study_id, patient_id, report):
        record = StudyRecord(patient_id=patient_id, report=report)
        reporter.library.put(NewStudy(study_id, record, ()), deadline)

    put("before", "one", "FINDINGS: A nodule.")
    writing = replace(reporter, language_model=Scripted("No pneumothorax."))
    record = recorded(ReportRequest(subject=Subject("one", None, "before")), by=writing)
    assert again(record, writing).same
    first, second = writing.language_model.tasks
    assert Prompt.of(first).messages() == Prompt.of(second).messages()
    assert first.prior == ("A nodule.",)
    if report is None:
        reporter.library.delete("before")
    else:
        put("before", "two" if report == REPORTS["s2"] else "one", report)
    assert again(record, writing).changes == ("the prior study was changed or deleted since",)


def test_what_was_written_without_the_prior_study_is_written_again_without_it(
    reporter, recorded, again, deadline
):
    stored = StudyRecord(patient_id="one", report="FINDINGS: A nodule.")
    reporter.library.put(NewStudy("before", stored, ()), deadline)
    record = recorded(ReportRequest(subject=Subject("one", None, "before")))
    reporter.library.delete("before")
    assert again(record).same


def test_what_a_fallback_wrote_is_written_again_without_the_language_model(
    reporter, recorded, again
):
    failing = replace(reporter, language_model=Failing(error=LlmUnavailable("It is down.")))
    record = recorded(ReportRequest(fallback="extractive"), failing)
    assert again(record, failing).same


def test_a_study_more_is_told_and_the_report_is_the_same(reporter, recorded, again, deadline):
    record = recorded()
    reporter.library.put(NewStudy("s4", StudyRecord(report="FINDINGS: A nodule."), ()), deadline)
    replay = again(record)
    assert replay.same
    assert replay.changes == ("a search today finds 1 other passages, and 0 less",)


@pytest.mark.parametrize("new", [None, "FINDINGS: No pneumothorax. Large left pleural effusion."])
def test_evidence_that_was_changed_or_deleted_is_told(reporter, recorded, again, deadline, new):
    record = recorded()
    if new is None:
        reporter.library.delete("s3")
    else:
        reporter.library.put(NewStudy("s3", StudyRecord(report=new), ()), deadline)
    replay = again(record)
    assert not replay.same
    assert "of its 6 passages were changed or deleted" in replay.changes[0]


def test_another_model_and_what_it_says_are_told(reporter, recorded, again):
    one, other = (
        replace(reporter, language_model=Scripted(text))
        for text in ("No pneumothorax.", "The heart is enlarged.")
    )
    record = recorded(by=one)
    assert again(record, one) == again(record, one)
    assert again(record, one).same
    replay = again(record, other)
    assert not replay.same
    assert replay.changes == (
        "no longer: findings: No pneumothorax.",
        "now: findings: The heart is enlarged.",
    )


def test_without_the_language_model_that_wrote_it_it_is_not_tried(reporter, recorded, again):
    record = recorded(by=replace(reporter, language_model=Scripted("No pneumothorax.")))
    with pytest.raises(LlmUnavailable, match="ECLIP_LLM_URL"):
        again(record)


def test_the_indication_is_asked_for_again(recorded, again):
    record = recorded(ReportRequest(indication="Cough."))
    assert again(record, indication="Cough.").same
    for other in (None, "Fever."):
        with pytest.raises(RequestMalformed, match="indication"):
            again(record, indication=other)


def test_a_filter_is_found_again_by_the_hashes_of_its_values(reporter, recorded, again, deadline):
    other = StudyRecord(report="FINDINGS: A nodule.", source="ward 7", findings=["nodule"])
    reporter.library.put(NewStudy("s9", other, ()), deadline)
    where = CaseFilter(source=("ward 7", "gone"), findings=("nodule",))
    record = recorded(ReportRequest(where=where))
    assert "ward 7" not in record.model_dump_json()
    assert len(record.evidence) == 1
    assert again(record) == Replay(same=True, changes=())
    plain = record.model_copy(update={"where": where})  # as versions before wrote it
    assert again(plain) == Replay(same=True, changes=())


def test_a_record_names_the_patient_of_the_study_that_it_is_about(
    reporter, recorded, again, deadline
):
    stored = StudyRecord(patient_id="one", report="FINDINGS: A nodule.")
    reporter.library.put(NewStudy("own", stored, ()), deadline)
    record = recorded(ReportRequest(subject=Subject(None, "own")))
    assert record.patient_id == reporter.audit.pseudonyms.patient("one")
    reporter.library.delete("own")
    assert again(record).same
