import json
import signal
import threading
import unicodedata
from itertools import islice

import pytest

from service.cases.ingest import (
    AT_ONCE,
    BATCH,
    BATCH_BYTES,
    Outcome,
    ingest,
    ingest_in_batches,
    ingest_source,
    total,
)
from service.cases.records import NewStudy, StudyRecord
from service.cases.sources import Entry, open_source
from service.settings import DEMO_LIBRARY
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

pytestmark = pytest.mark.slow

PICTURE = next(iter(sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))))


def manifest(tmp_path, lines):
    (tmp_path / "a.jpg").write_bytes(PICTURE.read_bytes())
    path = tmp_path / "studies.jsonl"
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    )
    return path


def ingested(library, path):
    return ingest(library, open_source(path).entries)


def record(study_id, **fields):
    return {"study_id": study_id, "patient_id": "canary-7", "report": "Clear.", **fields}


def test_bad_lines_are_rejected_with_their_number_and_reason(library, tmp_path):
    path = manifest(
        tmp_path,
        [
            record("s1", images=["a.jpg"]),
            b"{broken",
            record("s2", images=["canary-7.jpg"]),
            record("s3", images=["../../etc/passwd"]),
            record("s4", report=None),
            record("s5", colour="red"),
            b'{"study_id": "s6", "report": "x", "metadata": {"a": NaN}}',
            json.dumps(record("s8", report="Größer."), ensure_ascii=False).encode("latin-1"),
            record("s9", images=["a\0.jpg"]),
            record("s10", gaze={"x": [0.1], "y": [0.1], "duration": [5]}),
            record("s7", gaze=[{"x": [0.1], "y": [0.1], "duration": [5]}]),
        ],
    )
    outcome = ingested(library, path)
    reasons = {rejected.number: rejected.reason for rejected in outcome.rejected}
    assert sorted(reasons) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert "cannot be read" in reasons[3]
    assert "leaves the manifest's folder" in reasons[4]
    assert "neither a report nor an image" in reasons[5]
    assert "colour" in reasons[6]
    assert not any("canary-7" in reason for reason in reasons.values())
    assert outcome.stored == library.store.count() == 2


def test_a_study_of_another_region_is_rejected_by_its_region(library, tmp_path):
    path = manifest(tmp_path, [record("s1", images=["knee.dcm"]), record("s2", images=["a.jpg"])])
    (tmp_path / "knee.dcm").write_bytes(dicom_bytes(dicom_dataset(BodyPartExamined="KNEE")))
    (rejected,) = ingested(library, path).rejected
    assert (rejected.number, library.store.count()) == (1, 1)
    assert "another region, knee" in rejected.reason


def test_an_id_of_another_patient_is_refused_and_one_that_repeats_is_counted(library, tmp_path):
    lines = [record("s1"), record("s1", patient_id="canary-8"), record("s1", report="Again.")]
    outcome = total(ingest_source(library, open_source(manifest(tmp_path, lines))))
    ((number, reason),) = ((each.number, each.reason) for each in outcome.rejected)
    assert number == 2
    assert "another patient" in reason
    assert "canary" not in reason
    assert outcome.passed == {"lines that repeat an earlier study_id": 1}
    assert library.get("s1").report == "Again."


def test_ingesting_again_changes_nothing(library, tmp_path):
    path = manifest(tmp_path, [record(f"s{index}") for index in range(40)])
    batches = list(ingest_in_batches(library, open_source(path).entries))
    assert [outcome.studies for outcome in batches] == [BATCH, BATCH, 40 - 2 * BATCH]
    assert total(batches) == Outcome(40)
    assert ingested(library, path).stored == 40
    assert library.store.count() == 40


def test_of_an_id_that_comes_again_the_last_one_stays(library, tmp_path):
    """Also where the next batch is encoded while this one is written."""
    rounds = [
        [record("again", report=f"Version {turn}."), *(record(f"s{n}") for n in range(BATCH - 1))]
        for turn in range(6)
    ]
    path = manifest(tmp_path, [line for turn in rounds for line in turn])
    assert ingested(library, path).rejected == ()
    assert library.get("again").report == "Version 5."
    assert library.store.count() == BATCH


def test_what_was_taken_before_a_source_breaks_is_stored(library):
    def entries():
        yield from islice(open_source(DEMO_LIBRARY).entries, 3 * BATCH)
        raise OSError("the disk was unplugged")

    done = []
    outcomes = map(done.append, ingest_in_batches(library, entries()))
    with pytest.raises(OSError, match="unplugged"):
        list(outcomes)
    assert total(done).stored == library.store.count() >= 2 * BATCH


def test_of_an_id_that_comes_again_at_once_the_last_one_stays(library, tmp_path):
    """However its letters are encoded: a pseudonym takes both for one."""
    ids = ["é1", unicodedata.normalize("NFD", "é1"), " é1 "]
    path = manifest(tmp_path, [record(i, report=f"Version {n}.") for n, i in enumerate(ids)])
    assert ingested(library, path).stored == 3
    assert library.get("é1").report == "Version 2."
    assert library.store.count() == 1


def test_large_images_make_small_batches(library):
    """What is held at once is bounded in bytes, whatever the images are."""
    large = bytes(BATCH_BYTES // 2)
    studies = [NewStudy(f"s{n}", StudyRecord(), (large,)) for n in range(5)]
    outcomes = ingest_in_batches(library, (Entry("", study) for study in studies))
    assert [len(outcome.rejected) for outcome in outcomes] == [2, 2, 1]


def test_a_batch_is_read_while_others_are_in_progress(library, monkeypatch):
    studies = (AT_ONCE + 1) * BATCH
    all_read, put = threading.Event(), library.put_referenced

    def put_once_all_are_read(batch, deadline):
        assert all_read.wait(30)
        return put(batch, deadline)

    def entries():
        for number in range(1, studies + 1):
            if number == studies:
                all_read.set()
            yield Entry("", NewStudy(f"s{number}", StudyRecord(report="Clear."), ()))

    monkeypatch.setattr(library, "put_referenced", put_once_all_are_read)
    assert ingest(library, entries()).stored == studies


def test_an_interrupt_does_not_hide_what_is_stored(library, monkeypatch):
    put, in_progress = library.put_referenced, threading.Barrier(AT_ONCE)

    def put_and_interrupt(batch, deadline):
        stored = put(batch, deadline)
        if in_progress.wait(30) == 0:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        in_progress.wait(30)
        return stored

    monkeypatch.setattr(library, "put_referenced", put_and_interrupt)
    new = (NewStudy(f"s{n}", StudyRecord(report="Clear."), ()) for n in range(AT_ONCE * BATCH))
    outcomes = []
    with pytest.raises(KeyboardInterrupt):
        outcomes.extend(ingest_in_batches(library, (Entry("", study) for study in new)))
    assert total(outcomes).stored == library.store.count() == AT_ONCE * BATCH


def test_the_limit_is_the_stage_in_which_batches_spend_the_most_time(library, tmp_path):
    path = manifest(tmp_path, [record(f"s{n}", images=["a.jpg"]) for n in range(3 * BATCH)])
    assert Outcome().limit is None
    outcome = ingested(library, path)
    assert set(outcome.seconds) == {"reading", "decoding", "encoding", "writing"}
    assert all(seconds > 0 for seconds in outcome.seconds.values())
    again = ingested(library, path)
    assert again.seconds["decoding"] == again.seconds["writing"] == 0
    assert again.limit == "reading"
    assert total([again, Outcome(seconds={"writing": 3600.0})]).limit == "writing"
