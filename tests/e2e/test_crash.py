"""Killing an index, a copy or a server loses nothing, and running again finishes the work."""

import os
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest

from service.bundle.manifest import load, seal
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY, Settings
from service.wiring import open_services

pytestmark = pytest.mark.slow

TIMEOUT_S = 200
"""Seconds after which a process counts as hung."""
STUDIES = 120
"""How many of the demo library are indexed."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The first studies of the demo library."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "images").symlink_to(DEMO_LIBRARY.parent / "images")
    lines = DEMO_LIBRARY.read_text().splitlines(keepends=True)
    (folder / DEMO_LIBRARY.name).write_text("".join(lines[:STUDIES]))
    return folder / DEMO_LIBRARY.name


def index(data_dir, source):
    return eclip(data_dir, DEMO_BUNDLE, "index", source)


def eclip(data_dir, bundle, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        env=os.environ | {"ECLIP_DATA_DIR": str(data_dir), "ECLIP_BUNDLE": str(bundle)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process, data_dir, renditions):
    """Sends SIGKILL as soon as the disk holds this many renditions."""
    end = time.monotonic() + TIMEOUT_S
    while len(list((data_dir / "renditions").rglob("*.jpg"))) < renditions:
        assert process.poll() is None, "the process ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def content(data_dir, bundle=DEMO_BUNDLE):
    """Returns everything that a search can find, sorted: studies with digests, and their parts."""
    with open_services(Settings(data_dir=data_dir, bundle=bundle)) as wired:
        points = [point.payload for point in wired.library.store.points()]
        records = [point for point in points if point["part"] == "study"]
        parts = [(p["part"], p["study_id"], p.get("passage_id")) for p in points]
        assert all(wired.library.rendition(record["study_id"]) for record in records)
    return sorted((record["study_id"], record["digest"]) for record in records), sorted(
        map(str, parts)
    )


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """A library that one run indexed, with a fixed key, so that hashes can be compared."""
    data_dir = tmp_path_factory.mktemp("uninterrupted")
    (data_dir / "identifiers.key").write_text("5a" * 32)
    assert index(data_dir, source).wait(timeout=TIMEOUT_S) == 0
    return data_dir


@pytest.fixture(scope="module")
def uninterrupted(whole):
    return content(whole)


def test_indexing_that_is_killed_and_run_again_equals_one_run(tmp_path, source, uninterrupted):
    (tmp_path / "identifiers.key").write_text("5a" * 32)
    for renditions in (1, 40, 80):
        kill_when(index(tmp_path, source), tmp_path, renditions)
    assert index(tmp_path, source).wait(timeout=TIMEOUT_S) == 0
    studies, parts = content(tmp_path)
    assert len(studies) == len({study for study, _ in studies}) == STUDIES
    assert (studies, parts) == uninterrupted


@pytest.mark.parametrize("vectors", ["copied", "embedded again"])
def test_a_copy_that_is_killed_and_run_again_lacks_nothing(tmp_path, whole, uninterrupted, vectors):
    (tmp_path / "identifiers.key").write_text("5a" * 32)
    bundle = DEMO_BUNDLE
    if vectors == "embedded again":
        other = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
        bundle = seal(other, load(other).manifest.model_copy(update={"version": "other"})).path
    for renditions in (1, 40, 80):
        kill_when(eclip(tmp_path, bundle, "copy", whole / "studies"), tmp_path, renditions)
    assert eclip(tmp_path, bundle, "copy", whole / "studies").wait(timeout=TIMEOUT_S) == 0
    (studies, parts), (originals, every_part) = content(tmp_path, bundle), uninterrupted
    assert [study for study, _ in studies] == [study for study, _ in originals]
    assert parts == every_part
    assert content(whole) == uninterrupted


def test_what_was_acknowledged_survives_a_kill_of_the_server(serve, tmp_path, radiograph):
    with serve(tmp_path) as server:
        for number in range(5):
            put = httpx.put(
                f"{server.url}/studies/s{number}",
                files={"files": radiograph},
                data={"report": f"Nodule number {number}."},
            )
            assert put.status_code == 200
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        with serve(tmp_path) as again:
            for number in range(5):
                study = httpx.get(f"{again.url}/studies/s{number}").json()
                assert study["report"] == f"Nodule number {number}."
                assert httpx.get(again.url + study["images"][0]["url"]).status_code == 200


def test_what_was_deleted_is_erased_though_the_server_is_killed_at_once(
    serve, tmp_path, radiograph
):
    """Words, facts and pixels of the patient are in no file once the next server was stopped."""
    words = ["Zwölffingerdarm-qxv", "ward-kzj", "finding-bhw", "view-wfp", "nurse-mgd"]
    with serve(tmp_path) as server:
        for number in range(4):
            put = httpx.put(
                f"{server.url}/studies/s{number}",
                files={"files": radiograph},
                data={"report": f"Nodule number {number}.", "patient_id": f"p{number % 2}"},
            )
            assert put.status_code == 200
        put = httpx.put(
            f"{server.url}/studies/theirs",
            files={"files": radiograph},
            data={
                "report": f"FINDINGS: {words[0]}.",
                "patient_id": "theirs",
                "source": words[1],
                "findings": f'["{words[2]}"]',
                "view": words[3],
                "metadata": f'{{"nurse": "{words[4]}"}}',
            },
        )
        assert put.status_code == 200
        assert found(tmp_path, words) == words
        removed = httpx.delete(f"{server.url}/patients/theirs").json()
        assert removed == {"studies": 1, "erased_within_s": 3600}
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        with serve(tmp_path) as again:
            for number in range(4):
                study = httpx.get(f"{again.url}/studies/s{number}").json()
                assert study["report"] == f"Nodule number {number}."
                assert httpx.get(again.url + study["images"][0]["url"]).status_code == 200
            assert httpx.get(f"{again.url}/studies/theirs").status_code == 404
    assert found(tmp_path, words) == []
    assert len(list((tmp_path / "renditions").rglob("*.jpg"))) == 4


def found(folder, words):
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return [word for word in words if any(word.encode() in content for content in files)]
