"""What is written down of every report, and that it is, whatever happens."""

import json
import resource
import threading
from dataclasses import replace

import pytest

from service.errors import RecordUnknown, StoreUnavailable
from service.imaging.deidentify import Pseudonymiser
from service.reporting.audit import AuditLog, append_line
from service.reporting.evidence import Subject
from service.reporting.report import Report, ReportRequest
from tests.support.disks import fill, small_disk
from tests.support.writers import Scripted

NAMED = ReportRequest(
    subject=Subject("Doe^Jane", "ACC-4711"), indication="Jane Doe, fell.", comparison="of 1 May"
)


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit", Pseudonymiser(b"k" * 32))


@pytest.fixture
def reporter(client, log):
    return replace(client.app.state.services.reporter, audit=log)


def lines(tmp_path):
    return [line for file in (tmp_path / "audit").iterdir() for line in file.open()]


def test_a_report_is_written_down_before_it_is_given_out(reporter, image, deadline, tmp_path):
    *_, report = reporter.events([image], ReportRequest(), deadline)
    (line,) = lines(tmp_path)
    assert json.loads(line)["id"] == report.provenance.record
    record = reporter.audit.find(report.provenance.record)
    assert (record.findings, record.impression) == (report.findings, report.impression)
    assert record.provenance == report.provenance
    assert [one.passage_id for one in record.evidence] == [e.passage_id for e in report.evidence]
    assert record.embedding.tolist() == image.vector.tolist()


@pytest.mark.parametrize("ungrounded", ["drop", "flag"])
def test_no_id_and_no_text_of_the_caller_stands_in_it(
    reporter, image, deadline, tmp_path, ungrounded
):
    echoing = replace(reporter, language_model=Scripted("Jane Doe fell.", "Effusion in ACC-4711."))
    report = echoing.report([image], replace(NAMED, ungrounded=ungrounded), deadline)
    assert len(report.withheld or report.findings) == 2
    (line,) = lines(tmp_path)
    for word in ("Jane", "Doe", "4711", "fell", "1 May"):
        assert word not in line
    record = reporter.audit.find(report.provenance.record)
    names = reporter.audit.pseudonyms
    assert record.patient_id == names.patient("Doe^Jane")
    assert (record.withheld or record.findings)[0].text == names.text("Jane Doe fell.")


def test_a_line_that_a_crash_cut_short_costs_no_other(reporter, image, deadline, tmp_path):
    first = reporter.report([image], ReportRequest(), deadline).provenance.record
    (file,) = (tmp_path / "audit").iterdir()
    with file.open("a") as torn:
        torn.write(file.read_text()[:100])
    second = reporter.report([image], ReportRequest(), deadline).provenance.record
    for record in (first, second):
        assert reporter.audit.find(record).id == record


def test_many_write_at_once_and_every_line_is_whole(reporter, image, deadline, tmp_path):
    report = reporter.report([image], ReportRequest(), deadline)
    others = [AuditLog(tmp_path / "audit", reporter.audit.pseudonyms) for _ in range(4)]
    threads = [
        threading.Thread(target=other.append, args=(image.vector, ReportRequest(), report))
        for other in others * 5
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {json.loads(line)["id"] for line in lines(tmp_path)} == {report.provenance.record}
    assert len(lines(tmp_path)) == 21


def told_until_it_fails(reporter, image, deadline):
    """The events before a StoreUnavailable."""
    told, events = [], reporter.events([image], ReportRequest(), deadline)
    with pytest.raises(StoreUnavailable, match="audit log"):
        told += events  # what came before stays in it
    return told


def test_a_report_that_cannot_be_written_down_is_not_given_out(reporter, image, deadline, tmp_path):
    (tmp_path / "audit").write_text("in the way")
    told = told_until_it_fails(reporter, image, deadline)
    assert told
    assert not any(isinstance(event, Report) for event in told)


def test_nor_is_one_that_the_disk_takes_a_part_of(reporter, image, deadline, tmp_path):
    first = reporter.report([image], ReportRequest(), deadline).provenance.record
    (file,) = (tmp_path / "audit").iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 100, limits[1]))
    try:
        told = told_until_it_fails(reporter, image, deadline)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not any(isinstance(event, Report) for event in told)
    third = reporter.report([image], ReportRequest(), deadline).provenance.record
    for record in (first, third):
        assert reporter.audit.find(record).id == record


@pytest.mark.parametrize("name", ["", "2026-01-01-0123456789abcdef", "../../etc/passwd", "x"])
def test_a_record_that_is_not_there_is_unknown(log, name):
    with pytest.raises(RecordUnknown):
        log.find(name)


def test_a_line_that_the_disk_takes_in_part_leaves_the_file_as_it_was(tmp_path):
    with small_disk(tmp_path / "disk", 1) as disk:
        day = disk / "audit" / "2026-01-01.jsonl"
        append_line(day, b"first")
        filler = fill(disk)
        with pytest.raises(OSError, match="No space left"):
            append_line(day, b"x" * 20_000)
        assert day.read_bytes() == b"first\n"
        filler.unlink()
        append_line(day, b"second")
        assert day.read_bytes() == b"first\nsecond\n"
