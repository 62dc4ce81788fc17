"""What concerns a patient leaves the audit log, and nothing else does."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from service.cases.schema import CaseFilter
from service.errors import StoreUnavailable
from service.files import written_atomically
from service.imaging.deidentify import Pseudonymiser
from service.inference.zero_shot import Finding
from service.reporting import audit_erasure
from service.reporting.audit import AuditLog
from service.reporting.audit_erasure import ERASED, Erasure, erase, remove_drafts
from service.reporting.evidence import Evidence, Subject
from service.reporting.report import Provenance, Report, ReportRequest
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy
from tests.support.paths import ROOT

KEY = b"k" * 32
NAMES = Pseudonymiser(KEY)
DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
VECTOR = np.ones(4, np.float32)
WORDS = "Zebra-striped nodule."


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit", NAMES)


def passage(number, study, patient, text):
    return Evidence(
        number=number,
        passage_id=f"{NAMES.study(study)}/p{number}",
        study_id=NAMES.study(study),
        section="findings",
        text=text,
        score=0.5,
        vector=VECTOR,
        patient_id=patient and NAMES.patient(patient),
    )


def report(record, *evidence, sentences=()):
    return Report(
        findings=tuple(sentences),
        impression=(),
        withheld=(),
        evidence=evidence,
        prior=(),
        classification=(Finding("x", 0.1, None, False, False),),
        generator=WrittenBy("extractive", "writer", len(evidence)),
        provenance=Provenance("b", None, 0, 8, "s", record),
        abstained=None,
    )


def said(text, *numbers):
    return Sentence(text, numbers, 1.0, "supported")


def citing(record):
    """A report about nobody that cites the patient `doe` and another one."""
    evidence = passage(1, "s1", "doe", WORDS), passage(2, "s2", "roe", "Heart is large.")
    sentences = said(WORDS, 1), said("Heart is large.", 2), said("Both.", 2, 1)
    return report(record, *evidence, sentences=sentences)


def write(log, day, subject=None, number=0):
    """Writes the record of a report that cites `doe`, perhaps about a subject. Returns its id."""
    record = f"{day}-{number:016x}"
    log.append(VECTOR, ReportRequest(subject=subject or Subject()), citing(record))
    return record


def whole(log):
    return b"".join(path.read_bytes() for path in sorted(log.directory.iterdir()))


def test_a_record_about_the_patient_is_removed_and_no_other(log):
    about = [
        write(log, DAYS[0], Subject("doe"), 1),
        write(log, DAYS[0], Subject(None, "s1"), 2),
        write(log, DAYS[0], Subject(None, None, "s1"), 3),
    ]
    other = write(log, DAYS[0], Subject("roe", "s2"), 4)
    assert erase(log, "doe", ["s1"]) == Erasure(removed=3, changed=1, days=1)
    text = whole(log).decode()
    assert [record in text for record in (*about, other)] == [False, False, False, True]


def test_another_patients_record_loses_what_it_cites_of_the_patient(log):
    record = log.find(write(log, DAYS[0], Subject("roe")))
    assert erase(log, "doe", []) == Erasure(changed=1, days=1)
    left = log.find(record.id)
    assert [sentence.text for sentence in left.findings] == [ERASED, "Heart is large.", ERASED]
    assert (left.evidence[0].study_id, left.evidence[0].text) == (ERASED, ERASED)
    assert left.evidence[1] == record.evidence[1]
    kept = {"id", "written", "vector", "patient_id", "provenance", "generator"}
    assert left.model_dump(include=kept) == record.model_dump(include=kept)
    for trace in (WORDS, NAMES.patient("doe"), NAMES.study("s1"), NAMES.text(WORDS)):
        assert trace.encode() not in whole(log)
    assert erase(log, "doe", ["s1"]) == Erasure()


def test_studies_that_new_records_name_are_found_in_old_ones(log):
    """Old lines name no patient of a passage; after a deletion the library cannot tell it."""
    write(log, DAYS[0])
    old = log.directory / f"{DAYS[0]}.jsonl"
    line = json.loads(old.read_text())
    for cited in line["evidence"]:
        del cited["patient_id"]
    line["where"] = {"source": ["Ward 7"], "view": [], "findings": [], "section": []}
    del line["prior_study_id"], line["prior"]
    old.write_text(json.dumps(line) + "\n")
    assert log.find(line["id"]).where == CaseFilter(source=("Ward 7",))
    assert erase(log, "doe", []) == Erasure()
    assert erase(log, None, ["s1"]) == Erasure(changed=1, days=1)
    old.write_text(json.dumps(line) + "\n")
    write(log, DAYS[1])
    assert erase(log, "doe", []) == Erasure(changed=2, days=2)


def test_days_without_the_patient_are_not_touched(log):
    for day in DAYS:
        write(log, day, Subject("roe"))
    other = log.directory / f"{DAYS[1]}.jsonl"
    other.write_text(other.read_text().replace(NAMES.study("s1"), NAMES.study("s9"))
                     .replace(NAMES.patient("doe"), NAMES.patient("p9")))  # fmt: skip
    before = [(path, path.stat(), path.read_bytes()) for path in sorted(log.directory.iterdir())]
    assert erase(log, "doe", []).days == 2
    after = {path: path.stat() for path in log.directory.iterdir()}
    same = [after[path].st_ino == stat.st_ino for path, stat, _ in before]
    assert same == [False, True, False]
    assert other.read_bytes() == before[1][2]
    assert {stat.st_mode & 0o777 for stat in after.values()} == {0o600}


def test_a_line_that_a_crash_cut_short_is_removed_and_foreign_lines_stay(log):
    write(log, DAYS[0])
    path = log.directory / f"{DAYS[0]}.jsonl"
    line = path.read_text()
    foreign = '{"of": "a later version"}\n'
    for end in (5, 200, len(line) - 3):
        path.write_text(line[:end] + "\n" + foreign + line)
        done = erase(log, "p9", [])
        assert (done.cut, done.removed, done.changed) == (1, 0, 0)
        assert path.read_text() == foreign + line


def test_a_patient_whom_nobody_cites_changes_nothing(log):
    assert erase(log, "doe", ["s1"]) == Erasure()
    write(log, DAYS[0])
    before = whole(log)
    assert erase(log, "nobody", ["none"]) == Erasure()
    assert whole(log) == before


def test_a_disk_that_takes_no_more_leaves_the_day_as_it_was(log, monkeypatch):
    write(log, DAYS[0])
    before = whole(log)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit_erasure, "written_atomically", full)
    with pytest.raises(StoreUnavailable, match="erase again"):
        erase(log, "doe", [])
    assert whole(log) == before


def test_nothing_written_meanwhile_is_lost(log):
    """Writers wait for a day's lock, and find the file that replaced theirs."""
    write(log, DAYS[0])
    logs = [AuditLog(log.directory, NAMES) for _ in range(3)]

    def write_many(log, first):
        for number in range(30):
            write(log, DAYS[0], None, first + number)

    threads = [
        threading.Thread(target=write_many, args=(each, 1000 * number))
        for number, each in enumerate(logs, start=1)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        erase(log, "doe", [])
    for thread in threads:
        thread.join()
    erase(log, "doe", [])
    lines = (log.directory / f"{DAYS[0]}.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == 91
    assert WORDS.encode() not in whole(log)


KILLED = """
import sys, time
from pathlib import Path
from service.imaging.deidentify import Pseudonymiser
from service.reporting.audit import AuditLog
from service.reporting.audit_erasure import erase
log = AuditLog(Path(sys.argv[1]), Pseudonymiser(b"k" * 32))
print("begun", flush=True)
erase(log, "doe", [])
"""


@pytest.mark.slow
def test_a_killed_erasure_loses_nothing_and_the_next_one_ends_it(log):
    for number in range(400):
        write(log, DAYS[number % 3], Subject("doe") if number % 4 == 0 else None, number)
    for seed in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(log.directory)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        process.stdout.readline()
        threading.Event().wait(random.Random(seed).uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for day in DAYS:
            lines = (log.directory / f"{day}.jsonl").read_text().splitlines()
            assert len(lines) >= 99
            assert all(json.loads(line) for line in lines)
    assert erase(log, "doe", []).removed + erase(log, "doe", []).removed <= 100
    assert {path.suffix for path in log.directory.iterdir()} == {".jsonl"}
    for trace in (WORDS, NAMES.patient("doe"), NAMES.study("s1")):
        assert trace.encode() not in whole(log)
    assert sum(len(path.read_text().splitlines()) for path in log.directory.iterdir()) == 300


def test_a_server_that_starts_removes_the_draft_of_a_killed_erasure(log):
    write(log, DAYS[0])
    with written_atomically(log.directory / f"{DAYS[0]}.jsonl") as draft:
        draft.write_bytes(whole(log))
        kept = draft.with_name(draft.name.replace(".part", "0.part"))
        kept.write_text("half")
    with audit_erasure._alone(log.directory):
        remove_drafts(log.directory)  # another process erases just now
        assert kept.exists()
    remove_drafts(log.directory)
    assert not kept.exists()
    remove_drafts(log.directory / "nowhere")


def test_values_of_the_filter_are_hashes(client, image, deadline, log):
    reporter = replace(client.app.state.services.reporter, audit=log)
    request = ReportRequest(where=CaseFilter(source=("Ward of Jane Doe",), view=("PA",)))
    record = log.find(reporter.report([image], request, deadline).provenance.record)
    assert record.where == CaseFilter(
        source=(NAMES.text("Ward of Jane Doe"),), view=(NAMES.text("PA"),)
    )
    assert b"Jane" not in whole(log)
