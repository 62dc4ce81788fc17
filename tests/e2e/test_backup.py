"""A backup of a serving library, taken and brought back by the commands, lacks nothing."""

import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest

pytestmark = pytest.mark.slow


def eclip(data_dir, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        env=os.environ | {"ECLIP_DATA_DIR": str(data_dir), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def put(server, number, radiograph):
    answer = httpx.put(
        f"{server.url}/studies/s{number}",
        files={"files": radiograph},
        data={"report": f"FINDINGS: Nodule number {number}.", "patient_id": f"p{number}"},
        timeout=60,
    )
    assert answer.status_code == 200


def test_a_backup_of_a_serving_library_is_restored_checked_and_served(serve, tmp_path, radiograph):
    served, restored, backups = (tmp_path / name for name in ("served", "restored", "backups"))
    served.mkdir()
    acknowledged, ending = [], threading.Event()

    def write():
        while not ending.is_set():
            put(server, len(acknowledged), radiograph)
            acknowledged.append(len(acknowledged))

    with serve(served) as server:
        put(server, "gone", radiograph)
        assert httpx.delete(f"{server.url}/patients/pgone").status_code == 200
        writing = threading.Thread(target=write)
        writing.start()
        while len(acknowledged) < 3:
            assert writing.is_alive()
            ending.wait(0.01)
        known = list(acknowledged)
        assert eclip(served, "backup", backups)[0] == 0
        ending.set()
        writing.join()
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    (backup,) = backups.iterdir()
    assert eclip(restored, "restore", backup)[0] == 0
    code, said = eclip(restored, "check")
    assert code == 0, said
    assert "studies are sound." in said
    with serve(restored) as again:
        assert httpx.get(f"{again.url}/studies/sgone").status_code == 404
        for number in known:
            study = httpx.get(f"{again.url}/studies/s{number}").json()
            assert study["report"] == f"FINDINGS: Nodule number {number}."
            assert httpx.get(again.url + study["images"][0]["url"]).status_code == 200
