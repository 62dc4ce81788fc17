import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from pydicom import uid

from service.cases.ingest import ingest_source, total
from service.cases.library import CaseLibrary
from service.cases.sources import open_source
from service.errors import PeerRefused, PeerUnavailable, StoreFull
from service.pacs.pull.fetching import NO_RADIOGRAPH, REJECTED, UNCHANGED
from service.pacs.pull.ledger import Ledger
from service.pacs.pull.source import LATE, Pull
from service.settings import Settings
from service.studies.files import OTHERS
from service.wiring import open_library
from tests.support.archive import archived
from tests.support.held_archive import HeldArchive
from tests.support.processes import eventually
from tests.support.synthetic import radiograph

PIXELS = radiograph(256, 224, 12)


def radiograph_of(study: int, image: int = 1, **elements: object) -> bytes:
    identity = {
        "StudyInstanceUID": f"1.2.3.{study}",
        "SOPInstanceUID": f"1.2.3.{study}.{image}",
        "PatientID": f"p{study}",
        "StudyDate": f"2026{1 + study // 28:02}{1 + study % 28:02}",
    }
    return archived(uid.ExplicitVRLittleEndian, PIXELS, **identity | elements)


@pytest.fixture
def library(tmp_path, encoder) -> Iterator[CaseLibrary]:
    with open_library(Settings(data_dir=tmp_path / "var"), encoder) as library:
        yield library


@pytest.fixture
def ledger(tmp_path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "var" / "ledger", "this reader")
    yield ledger
    ledger.close()


def pull(library, archive, ledger, since=None, **where):
    """Pulls everything; returns the outcome, and raises what the pull raises once it is settled."""
    run = Pull(archive, ledger, library.pseudonyms, where, since)
    run.list_studies()
    outcomes = []
    try:
        for done in ingest_source(library, run.source()):
            run.settle(done)
            outcomes.append(done)
        run.finish()
    finally:
        pull.outcome = total(outcomes)
    return pull.outcome


def digests(library):
    return {each.study.study_id: each.study.digest for each in library.store.studies()}


@pytest.mark.slow
def test_a_pull_gives_the_library_that_the_same_files_in_a_folder_give(
    library, ledger, tmp_path, encoder
):
    files = [radiograph_of(study, image) for study in range(20) for image in range(1 + study % 2)]
    (tmp_path / "folder").mkdir()
    for number, file in enumerate(files):
        (tmp_path / "folder" / f"IM{number:04}").write_bytes(file)
    assert pull(library, HeldArchive(files), ledger).stored == 20
    same_key = Settings(data_dir=tmp_path / "other")
    same_key.data_dir.mkdir()
    key = (tmp_path / "var" / "identifiers.key").read_text()
    (same_key.data_dir / "identifiers.key").write_text(key)
    with open_library(same_key, encoder) as other:
        total(ingest_source(other, open_source(tmp_path / "folder")))
        assert digests(other) == digests(library)


@pytest.mark.slow
def test_nothing_is_fetched_twice(library, ledger):
    archive = HeldArchive([radiograph_of(1), radiograph_of(2)])
    archive.add(radiograph_of(3).replace(PIXELS.tobytes(), PIXELS.tobytes()[:1000]))
    first = pull(library, archive, ledger)
    assert (first.stored, len(first.rejected)) == (2, 1)
    archive.fetched.clear()
    assert pull(library, archive, ledger).passed == {UNCHANGED: 2, REJECTED: 1}
    assert archive.fetched == []
    archive.add(radiograph_of(2, 2))
    again = pull(library, archive, ledger)
    assert (again.stored, again.passed) == (1, {UNCHANGED: 1, REJECTED: 1})
    assert sorted(archive.fetched) == ["1.2.3.2.1", "1.2.3.2.2"]
    assert len(library.get("1.2.3.2").images) == 2


def test_another_version_tries_again_what_was_rejected(library, tmp_path):
    archive = HeldArchive([radiograph_of(1), radiograph_of(2, BodyPartExamined="HAND")])
    for reader in ("one", "one", "two"):
        ledger = Ledger(tmp_path / "var" / "ledger", reader)
        pull(library, archive, ledger)
        ledger.close()
    assert sorted(archive.fetched) == ["1.2.3.1.1", "1.2.3.2.1", "1.2.3.2.1"]


def test_only_radiographs_and_reports_are_fetched(library, ledger):
    ct = {"SOPClassUID": uid.CTImageStorage, "Modality": "CT"}
    archive = HeldArchive([radiograph_of(1), radiograph_of(1, 2, **ct), radiograph_of(2, **ct)])
    done = pull(library, archive, ledger)
    assert (done.stored, done.passed) == (1, {OTHERS: 1, NO_RADIOGRAPH: 1})
    assert archive.fetched == ["1.2.3.1.1"]


def test_an_archive_that_lists_no_classes_gives_the_same_study(library, ledger):
    """All its objects are fetched then, and their own headers say which are radiographs."""
    ct = {"SOPClassUID": uid.CTImageStorage, "Modality": "CT"}
    archive = HeldArchive([radiograph_of(1), radiograph_of(1, 2, **ct)])
    for each, (listed, file) in archive.held["1.2.3.1"].items():
        archive.held["1.2.3.1"][each] = (replace(listed, sop_class="", modality=""), file)
    done = pull(library, archive, ledger)
    assert (done.stored, done.passed) == (1, {OTHERS: 1})
    assert len(library.get("1.2.3.1").images) == 1


def test_a_study_with_too_many_radiographs_is_rejected_unread(library, ledger):
    archive = HeldArchive([radiograph_of(1, image) for image in range(17)])
    (rejected,) = pull(library, archive, ledger).rejected
    assert "17 radiographs" in rejected.reason
    assert (rejected.place, archive.fetched) == ("1.2.3.1", [])


@pytest.mark.parametrize("fault", [PeerRefused("Gone."), PeerUnavailable("Busy.")])
def test_an_object_that_cannot_be_had_rejects_its_study_until_it_can(library, ledger, fault):
    archive = HeldArchive([radiograph_of(1), radiograph_of(1, 2), radiograph_of(2)])
    archive.faults["1.2.3.1.2"] = fault
    done = pull(library, archive, ledger)
    assert (done.stored, [each.reason for each in done.rejected]) == (1, [fault.detail])
    archive.faults.clear()
    assert pull(library, archive, ledger).stored == 1
    assert len(library.get("1.2.3.1").images) == 2


@pytest.mark.slow
def test_an_archive_that_stays_away_ends_the_run_and_the_next_one_resumes(library, ledger):
    archive = HeldArchive([radiograph_of(study) for study in range(100, 140)])
    archive.away = {"1.2.3.120"}
    with pytest.raises(PeerUnavailable):
        pull(library, archive, ledger)
    assert pull.outcome.stored == library.store.count() == 20
    archive.away = set()
    archive.fetched.clear()
    assert pull(library, archive, ledger).stored == 20
    assert sorted(archive.fetched) == [f"1.2.3.{study}.1" for study in range(120, 140)]


def test_two_patients_under_one_study_are_never_one_study(library, ledger):
    archive = HeldArchive([radiograph_of(1), radiograph_of(1, 2, PatientID="somebody else")])
    (rejected,) = pull(library, archive, ledger).rejected
    assert "several patients" in rejected.reason


def test_the_last_run_says_from_which_day_on_the_next_one_asks(library, ledger):
    archive = HeldArchive([radiograph_of(1)])
    archive.faults["1.2.3.1.1"] = PeerUnavailable("Busy.")
    before = datetime.now(UTC)
    for _ in range(2):
        pull(library, archive, ledger, "last", Modality=["CR"])
        assert archive.wanted.pop().since is None  # the first run was not complete
        archive.faults.clear()
    pull(library, archive, ledger, "last", Modality=["CR"])
    since = archive.wanted.pop().since
    assert (before - LATE).date() <= since <= (datetime.now(UTC) - LATE).date()
    pull(library, archive, ledger, "last", Modality=["DX"])
    assert archive.wanted.pop().since is None
    assert timedelta(days=3) == LATE


def test_a_day_is_handed_to_the_archive(library, ledger):
    archive = HeldArchive([radiograph_of(study) for study in (1, 2, 3)])
    assert pull(library, archive, ledger, date(2026, 1, 3)).stored == 2


def test_no_plain_identifier_is_in_the_ledger(library, ledger, tmp_path):
    pull(library, HeldArchive([radiograph_of(1)]), ledger, StationName=["ward-kzj"])
    content = (tmp_path / "var" / "ledger").read_bytes()
    assert library.pseudonyms.study("1.2.3.1").encode() in content
    for plain in (b"1.2.3", b"p1", b"ward-kzj", b"StationName"):
        assert plain not in content


@pytest.mark.slow
def test_bytes_ahead_are_bounded(monkeypatch, library, ledger):
    """Even with room for nothing ahead, all are read, one after the other."""
    monkeypatch.setattr("service.pacs.pull.source.AHEAD_BYTES", 1)
    archive = HeldArchive([radiograph_of(study) for study in range(30)])
    assert pull(library, archive, ledger).stored == 30
    assert np.unique(archive.fetched).size == len(archive.fetched) == 30


def test_a_run_that_is_broken_off_leaves_no_thread_waiting(monkeypatch, library, ledger):
    monkeypatch.setattr("service.pacs.pull.source.AHEAD_BYTES", 1)
    archive = HeldArchive([radiograph_of(study) for study in range(30)])
    run = Pull(archive, ledger, library.pseudonyms, {}, None)
    run.list_studies()
    next(run.source().entries)
    run.close()
    eventually(
        lambda: not any(t.name.startswith("ahead") for t in threading.enumerate()), "threads"
    )


def test_a_full_disk_ends_the_run_and_is_no_fault_of_a_study(monkeypatch, library, ledger):
    archive = HeldArchive([radiograph_of(study) for study in range(3)])
    full = StoreFull("The disk is full.")
    with monkeypatch.context() as patched:
        patched.setattr(library, "put_referenced", lambda studies, _: dict.fromkeys(studies, full))
        assert len(pull(library, archive, ledger).rejected) == 3
    assert pull(library, archive, ledger).stored == 3
