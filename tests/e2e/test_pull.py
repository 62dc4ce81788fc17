"""Pulls a small department from a real Orthanc: whole, killed and resumed, again, with news."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import date

import pytest

from service.cases.ingest import AT_ONCE, Outcome, ingest, total
from service.cases.sources import open_source
from service.index_command import Asked, index_archive
from service.pacs.address import parse_address
from service.pacs.pull.fetching import NO_RADIOGRAPH, REJECTED, UNCHANGED
from service.settings import Settings
from service.studies.files import OTHERS
from service.wiring import open_library, open_services
from tests.support.department import CHESTS, FINDINGS, chest, department, image, uid_of
from tests.support.orthanc import run_orthanc

pytestmark = pytest.mark.slow

TIMEOUT_S = 200
"""Seconds after which a process counts as hung."""
OBJECT = re.compile(r"GET /dicom-web/studies/[\d.]+/series/[\d.]+/instances/([\d.]+)$", re.M)
"""An object that is fetched, in Orthanc's log."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    with open_services(Settings(data_dir=tmp_path_factory.mktemp("encoder"))) as wired:
        yield wired.encoder


@pytest.fixture(scope="module")
def held():
    return department()


@pytest.fixture(scope="module")
def orthanc(held, tmp_path_factory):
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        orthanc.put(*held.files.values())
        yield orthanc


def prepared(data_dir):
    """Returns a data directory with a fixed key, so that hashes can be compared."""
    data_dir.mkdir(exist_ok=True)
    (data_dir / "identifiers.key").write_text("5a" * 32)
    return data_dir


def start(data_dir, source, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", "index", str(source), *map(str, options)],
        env=os.environ
        | {"ECLIP_DATA_DIR": str(prepared(data_dir)), "COLUMNS": "300", "ECLIP_CORES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def index(data_dir, source, *options, code=1):
    """Runs `eclip index` to its end; returns what it printed. Three studies are always rejected."""
    process = start(data_dir, source, *options)
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code, said
    return said


def indexed(encoder, data_dir, source, since=None):
    """Does what `eclip index` does, with this process's encoder; returns the outcome."""
    settings, asked = Settings(data_dir=prepared(data_dir)), Asked(parse_address(source), {}, since)
    with open_library(settings, encoder) as library:
        return total(index_archive(library, settings, asked, AT_ONCE))


def kill(process):
    """Sends SIGKILL to a process that runs still."""
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def wait_for(process, count, least):
    """Waits until something is counted often enough; the process must not end before."""
    end = time.monotonic() + TIMEOUT_S
    while count() < least:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def fetched(orthanc):
    return len(OBJECT.findall(orthanc.log))


def renditions(data_dir):
    return len(list((data_dir / "renditions").rglob("*.jpg")))


def content(data_dir, encoder):
    """Returns the studies with their digests, and every vector and text, sorted."""
    with open_library(Settings(data_dir=data_dir), encoder) as library:
        studies = {each.study.study_id: each.study.digest for each in library.store.studies()}
        points = [
            (each.part, str(each.payload), each.vector is not None and each.vector.tobytes())
            for each in library.store.points()
        ]
    return studies, sorted(points)


def vectors(data_dir, encoder):
    """Returns the kind, study, text and vector of every part, sorted."""
    with open_library(Settings(data_dir=data_dir), encoder) as library:
        return sorted(
            (
                each.part,
                each.payload["study_id"],
                str(each.payload.get("text")),
                each.vector.tobytes(),
            )
            for each in library.store.points()
            if each.vector is not None
        )


@pytest.fixture(scope="module")
def whole(orthanc, tmp_path_factory):
    """The data directory of one pull, and what it printed."""
    data_dir = tmp_path_factory.mktemp("whole")
    rejects = data_dir / "rejects.jsonl"
    return data_dir, index(data_dir, orthanc.web, "--rejects", rejects)


def test_a_pull_says_what_it_left_out_and_why(whole):
    data_dir, said = whole
    assert f"{CHESTS + 1} studies of this archive read into the library, 3 rejected" in said
    assert "1 studies without a radiograph" in said
    assert "1 objects that are neither a radiograph nor a report" in said
    rejects = data_dir / "rejects.jsonl"
    assert len(rejects.read_text().splitlines()) == 3
    assert rejects.stat().st_mode & 0o777 == 0o600


def test_the_reports_of_the_studies_are_read(whole, encoder):
    with open_library(Settings(data_dir=whole[0]), encoder) as library:
        found = [each.study.report for each in library.store.studies() if each.study.report]
    assert len(found) == len(range(0, CHESTS, 3))
    assert {line for report in found for line in FINDINGS if line in report} == set(FINDINGS)


def test_a_pull_gives_the_library_of_the_same_files_in_a_folder(held, whole, tmp_path, encoder):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, file in held.files.items():
        if name not in held.others:
            (folder / name).write_bytes(file)
    data_dir = tmp_path / "var"
    with open_library(Settings(data_dir=prepared(data_dir)), encoder) as library:
        assert len(ingest(library, open_source(folder).entries).rejected) == 3
    assert content(data_dir, encoder) == content(whole[0], encoder)


def test_a_dicom_node_gives_the_same_studies_with_the_same_vectors(
    orthanc, whole, tmp_path, encoder
):
    """Digests differ: a node sends no file, so what stands before the dataset is written here."""
    outcome = indexed(encoder, tmp_path, orthanc.node)
    assert (outcome.stored, len(outcome.rejected)) == (CHESTS + 1, 3), outcome
    assert outcome.passed == {NO_RADIOGRAPH: 1, OTHERS: 1}
    assert vectors(tmp_path, encoder) == vectors(whole[0], encoder)


def test_a_pull_that_is_killed_and_run_again_equals_one_run(orthanc, whole, tmp_path, encoder):
    """It is killed while it fetches, and twice while it stores."""
    before, process = fetched(orthanc), start(tmp_path, orthanc.web)
    wait_for(process, lambda: fetched(orthanc), before + 10)
    kill(process)
    for least in (1, 50):
        process = start(tmp_path, orthanc.web)
        wait_for(process, lambda: renditions(tmp_path), least)
        kill(process)
    indexed(encoder, tmp_path, orthanc.web)
    assert content(tmp_path, encoder) == content(whole[0], encoder)


def test_a_second_run_reads_nothing_and_later_ones_what_is_new(orthanc, whole, tmp_path, encoder):
    data_dir, before = shutil.copytree(whole[0], tmp_path / "var"), fetched(orthanc)
    assert before
    assert indexed(encoder, data_dir, orthanc.web).passed == {
        UNCHANGED: CHESTS + 1, REJECTED: 3, NO_RADIOGRAPH: 1
    }  # fmt: skip
    assert fetched(orthanc) == before
    object_of_old_study = list(chest(1, views=3))[-1]
    study_of_today = image(500, 0, StudyDate=f"{date.today():%Y%m%d}")
    added = orthanc.put(object_of_old_study, study_of_today)
    try:
        assert indexed(encoder, data_dir, orthanc.web, "last") == Outcome(1)
        assert set(OBJECT.findall(orthanc.log)[before:]) == {f"{uid_of(500)}.1.1"}
        assert indexed(encoder, data_dir, orthanc.web).stored == 1
        of_old = {f"{uid_of(1)}.{view}.1" for view in (1, 2, 3)}
        assert set(OBJECT.findall(orthanc.log)[before + 1 :]) == of_old
    finally:
        for each in added:
            orthanc.remove(each["ID"])


def test_an_archive_that_stops_ends_the_run_with_an_error_and_the_next_one_resumes(
    held, whole, tmp_path, encoder
):
    data_dir = tmp_path / "var"
    with run_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.put(*held.files.values())
        process, port = start(data_dir, orthanc.web), orthanc.http_port
        wait_for(process, lambda: fetched(orthanc), 20)
        orthanc.process.kill()
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "PACS or FHIR server unavailable" in said
    assert "Traceback" not in said
    with run_orthanc(tmp_path / "orthanc", HttpPort=port) as orthanc:
        assert indexed(encoder, data_dir, orthanc.web).stored
    assert content(data_dir, encoder) == content(whole[0], encoder)
