"""A disk that fills up costs no acknowledged study, no search and no process."""

import json
import os
import subprocess
import sys
import threading

import httpx
import pytest

from service.settings import DEMO_LIBRARY
from tests.support.disks import fill, free, small_disk
from tests.support.server import run_server

pytestmark = pytest.mark.slow

MIB = 2**20
RESERVE = {"ECLIP_DISK_RESERVE_BYTES": str(64 * MIB)}
LONG = "The heart is enlarged and the lungs are clear of any nodule or mass; " * 60


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", 640) as disk:
        yield disk


def put(client, number, image=None):
    files = {"files": image} if image else None
    data = {"report": f"Nodule number {number}. {LONG}", "patient_id": f"P{number}"}
    return client.put(f"/studies/s{number}", files=files, data=data)


def kind(answer):
    return answer.status_code, answer.json()["type"]


def parts(client):
    ready = client.get("/health/ready")
    return ready.status_code, ready.json()["parts"]


def is_whole(client, number):
    study = client.get(f"/studies/s{number}")
    return (
        study.json()["report"].startswith(f"Nodule number {number}.")
        and client.get(study.json()["images"][0]["url"]).status_code == 200
    )


def test_a_full_disk_refuses_studies_and_goes_on_with_all_else(disk, radiograph):
    full = (507, "urn:eclip:store/full")
    serving = {"until": "/health/live", **RESERVE}
    with run_server(disk, **serving) as server, httpx.Client(base_url=server.url, timeout=120) as c:
        for number in range(4):
            assert put(c, number, radiograph).status_code == 200
        filler = fill(disk, left=free(disk) % MIB)
        refused = put(c, 99, radiograph)
        assert kind(refused) == full
        assert "Free some room" in refused.json()["detail"]
        assert c.post("/retrieve", json={"text": "nodule"}).json()["hits"]
        assert c.get("/studies/s0/image").status_code == 200
        assert parts(c)[1]["disk"].startswith("read-only: ")
        assert parts(c)[1]["store"] == "ready"
        assert "eclip_read_only 1.0" in c.get("/metrics").text
        assert c.delete("/studies/s3").status_code == 204
        assert c.get("/studies/s3").status_code == 404
        fill(disk)
        assert kind(c.post("/generate-report", files={"files": radiograph})) == full
        server.process.kill()
        server.process.wait()
    assert not list(disk.rglob("*.part"))
    with run_server(disk, **serving) as server, httpx.Client(base_url=server.url, timeout=120) as c:
        assert c.post("/retrieve", json={"text": "nodule"}).json()["hits"]
        assert kind(put(c, 99, radiograph)) == full
        assert parts(c)[1]["disk"].startswith("read-only: ")
        filler.unlink()
        assert put(c, 4, radiograph).status_code == 200
        assert parts(c) == (200, dict.fromkeys(parts(c)[1], "ready"))
        assert c.post("/generate-report", files={"files": radiograph}).status_code == 200
        assert all(is_whole(c, number) for number in (0, 1, 2, 4))


def test_a_disk_that_fills_while_batches_are_sent_keeps_what_was_acknowledged(disk):
    def batch(first):
        lines = [
            {"study_id": f"s{number}", "report": f"Nodule number {number}. {LONG}"}
            for number in range(first, first + 8)
        ]
        return "\n".join(map(json.dumps, lines))

    acknowledged, refusals = [], []
    with run_server(disk, **RESERVE) as server, httpx.Client(base_url=server.url, timeout=120) as c:
        other = threading.Thread(target=lambda: fill(disk, left=20 * MIB))
        for first in range(0, 320, 8):
            if first == 16:
                other.start()
            answer = c.post("/studies", content=batch(first))
            if answer.status_code == 200:
                acknowledged += range(first, first + 8)
            else:
                refusals.append(kind(answer))
            if len(refusals) == 3:
                break
        other.join()
        assert refusals == [(507, "urn:eclip:store/full")] * 3
        assert len(acknowledged) >= 16
        assert {c.get(f"/studies/s{number}").status_code for number in acknowledged} == {200}


def test_indexing_onto_a_full_disk_ends_with_words_and_goes_on_once_there_is_room(disk):
    def index():
        return subprocess.run(
            [sys.executable, "-m", "service.cli", "index", str(DEMO_LIBRARY)],
            env=os.environ | {"ECLIP_DATA_DIR": str(disk), **RESERVE},
            capture_output=True,
            text=True,
        )

    def when_some_are_stored():
        while len(list((disk / "renditions").rglob("*.jpg"))) < 20 and running.is_set():
            running.wait(0)
        fill(disk, left=2 * MIB)

    running = threading.Event()
    running.set()
    other = threading.Thread(target=when_some_are_stored)
    other.start()
    cut = index()
    running.clear()
    other.join()
    assert cut.returncode == 1
    assert "Disk full" in cut.stderr
    assert "Traceback" not in cut.stderr
    assert not list(disk.rglob("*.part"))
    (disk / "filler").unlink()
    whole = index()
    assert whole.returncode == 0, whole.stderr
    assert "240 studies of this source in the library" in whole.stdout


def test_a_library_on_a_disk_without_inodes_is_read(tmp_path, radiograph):
    with (
        small_disk(tmp_path / "disk", 640, inodes=1500) as disk,
        run_server(disk, **RESERVE) as server,
        httpx.Client(base_url=server.url, timeout=120) as c,
    ):
        assert put(c, 0, radiograph).status_code == 200
        names = disk / "names"
        names.mkdir()
        while os.statvfs(disk).f_favail:
            (names / str(os.statvfs(disk).f_favail)).touch()
        assert kind(put(c, 1, radiograph)) == (507, "urn:eclip:store/full")
        assert c.post("/retrieve", json={"text": "nodule"}).json()["hits"]
        assert c.delete("/studies/s0").status_code == 204


def test_a_disk_without_room_for_a_library_is_refused_at_the_start(tmp_path):
    with small_disk(tmp_path / "disk", 640) as disk:
        fill(disk, left=MIB)
        ran = subprocess.run(
            [sys.executable, "-m", "service.cli", "serve"],
            env=os.environ | {"ECLIP_DATA_DIR": str(disk), "ECLIP_PORT": "0", **RESERVE},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 1
        assert "Disk full" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_a_read_only_mount_is_refused_at_the_start_with_words(tmp_path):
    with small_disk(tmp_path / "disk", 640) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ran = subprocess.run(
            [sys.executable, "-m", "service.cli", "serve"],
            env=os.environ | {"ECLIP_DATA_DIR": str(disk), "ECLIP_PORT": "0", **RESERVE},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 1
        assert "Read-only file system" in " ".join(ran.stderr.split())
        assert "Traceback" not in ran.stderr


def test_an_upload_without_room_for_its_temporary_file_is_a_typed_error(tmp_path):
    form = {"files": ("large.png", os.urandom(3 * MIB))}
    with small_disk(tmp_path / "disk", 2) as disk:
        room = {"TMPDIR": str(disk)}
        with run_server(tmp_path, **room) as server:
            answer = httpx.post(f"{server.url}/embed/image", files=form, timeout=120)
            assert kind(answer) == (507, "urn:eclip:store/full")
            assert httpx.get(f"{server.url}/health/ready").status_code == 200
