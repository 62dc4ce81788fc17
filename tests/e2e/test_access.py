"""Who reaches a real server: where it starts, and which keys open it."""

import os
import stat
import subprocess
import sys
import time

import httpx
import pytest

pytestmark = pytest.mark.slow
ECLIP = [sys.executable, "-m", "service.cli"]


def eclip(data_dir, *arguments, **environment):
    variables = os.environ | {"ECLIP_DATA_DIR": str(data_dir), "COLUMNS": "200"} | environment
    return subprocess.run(
        [*ECLIP, *arguments], env=variables, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"ECLIP_HOST": "0.0.0.0"}, "ECLIP_HOST=0.0.0.0 is reached from other machines"),
        (
            {"ECLIP_HOST": "0.0.0.0", "ECLIP_ALLOWED_HOSTS": '["service"]'},
            "set ECLIP_ANYONE_MAY_READ_AND_DELETE=true",
        ),
        ({"ECLIP_API_KEY": "{}"}, "no setting ECLIP_API_KEY. Did you mean ECLIP_API_KEYS?"),
        ({"ECLIP_KEY_FILE": "/nowhere/keys.json"}, "key file of ECLIP_KEY_FILE cannot be read"),
    ],
)
def test_a_server_that_would_let_anybody_in_does_not_start(tmp_path, environment, why):
    done = eclip(tmp_path, "serve", "--demo", **environment)
    assert done.returncode == 2
    assert why in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_address_of_loopback_is_this_machines_own(serve, tmp_path):
    with serve(tmp_path, ECLIP_HOST="127.0.0.2") as server:
        assert httpx.get(f"{server.url}/studies").status_code == 200
        rebound = httpx.get(f"{server.url}/studies", headers={"host": "rebound.example"})
        assert rebound.status_code == 403


def test_beyond_this_machine_addresses_are_answered_and_rebound_names_are_not(serve, tmp_path):
    opened = {"ECLIP_HOST": "0.0.0.0", "ECLIP_ANYONE_MAY_READ_AND_DELETE": "true"}
    with serve(tmp_path, **opened) as server:
        for host, status in (("192.0.2.7:8000", 200), ("rebound.example", 403)):
            answer = httpx.get(f"{server.url}/studies", headers={"host": host})
            assert answer.status_code == status
        assert "may read and delete everything" in server.log.read_text()


def test_a_unix_socket_is_answered_and_no_port_is_opened(tmp_path):
    path = tmp_path / "socket"
    variables = os.environ | {
        "ECLIP_DATA_DIR": str(tmp_path / "var"),
        "ECLIP_SOCKET": str(path),
        "ECLIP_HOST": "0.0.0.0",
    }
    process = subprocess.Popen([*ECLIP, "serve"], env=variables)
    try:
        while not path.exists() and process.poll() is None:
            time.sleep(0.1)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=30) as client:
            assert client.get("http://localhost/studies").status_code == 200
        assert stat.S_ISSOCK(path.stat().st_mode)
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def test_keys_are_made_and_removed_while_the_server_runs(serve, tmp_path):
    keys = {"ECLIP_KEY_FILE": str(tmp_path / "keys.json")}

    def made(name, scopes):
        return eclip(tmp_path, "keys", "new", name, "--scopes", scopes, **keys).stdout.strip()

    reading = made("ward", "read")
    with serve(tmp_path, ECLIP_HOST="0.0.0.0", **keys) as server:

        def status(method, path, key):
            headers = {"authorization": f"Bearer {key}"}
            return httpx.request(method, server.url + path, headers=headers).status_code

        assert status("GET", "/studies", reading) == 200
        assert status("DELETE", "/studies/s1", reading) == 403
        deleting = made("clinic", "delete")
        assert status("DELETE", "/studies/s1", deleting) == 404
        assert status("GET", "/studies", deleting) == 403
        assert eclip(tmp_path, "keys", "remove", "ward", **keys).returncode == 0
        assert status("GET", "/studies", reading) == 401
        log = server.log.read_text()
    assert '"asked_by": "clinic"' in log
    assert '"client": "127.0.0.1"' in log
    assert reading not in log
    assert deleting not in log
