"""A power cut during indexing loses nothing, and running again finishes the work."""

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from service.app import open_services
from service.cases.points import Selection
from service.settings import DEMO_LIBRARY, Settings

TIMEOUT_S = 60


def index(data_dir):
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", "index", str(DEMO_LIBRARY)],
        env=os.environ | {"ECLIP_DATA_DIR": str(data_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process, data_dir, renditions):
    """kill -9 as soon as so many images lie on the disk."""
    end = time.monotonic() + TIMEOUT_S
    while len(list((data_dir / "renditions").rglob("*.jpg"))) < renditions:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def content(data_dir):
    """Everything a search can find: each part of each study, in one order."""
    with open_services(Settings(data_dir=data_dir)) as wired:
        store = wired.library.store
        points = store._select(Selection(), limit=100_000)
        records = [point for point in points if point["part"] == "study"]
        parts = [(p["part"], p["study_id"], p.get("passage_id")) for p in points]
        assert all(wired.library.rendition(record["study_id"]) for record in records)
    return sorted((record["study_id"], record["digest"]) for record in records), sorted(
        map(str, parts)
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The same key, so that the keyed hashes can be compared, and one run to the end."""
    data_dir = tmp_path_factory.mktemp("uninterrupted")
    (data_dir / "identifiers.key").write_text("5a" * 32)
    assert index(data_dir).wait(timeout=TIMEOUT_S) == 0
    return content(data_dir)


@pytest.mark.parametrize("kills", [[1], [100], [20, 90, 170]])
def test_indexing_that_is_killed_and_run_again_equals_one_run(tmp_path, uninterrupted, kills):
    (tmp_path / "identifiers.key").write_text("5a" * 32)
    for renditions in kills:
        kill_when(index(tmp_path), tmp_path, renditions)
    assert index(tmp_path).wait(timeout=TIMEOUT_S) == 0
    studies, parts = content(tmp_path)
    assert len(studies) == len({study for study, _ in studies}) == 240
    assert (studies, parts) == uninterrupted


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
