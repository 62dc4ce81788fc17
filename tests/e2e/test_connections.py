"""Connections that keep the server waiting take neither its descriptors nor its health."""

import json
import resource
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.openai_server import OpenAIServer

pytestmark = pytest.mark.slow

DESCRIPTORS = 256
PROBE_S = 4
"""Seconds that the container's health check waits."""
HEAD = b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n"
POST = b"POST /embed/image HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000\r\n\r\n"
UNREAD = (b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n") * 40
"""Requests whose answers together are more than the kernel's buffers hold."""
WAITING = {
    "silent": (b"", 1500),
    "half a head": (HEAD, 1500),
    "half a body": (POST + b"\x89PNG", 1500),
    "unread": (UNREAD, 300),
}
"""What a client sends before it waits, and how many clients do so."""


@pytest.fixture(autouse=True)
def enough_files():
    """The tests' own process holds the other ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def opened():
    """Opens a connection that sends some bytes and is closed at the test's end."""
    with ExitStack() as held:

        def connect(server, sent):
            connection = held.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**13)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(sent)
            return connection

        connect.close_all = held.close
        yield connect


def descriptors(server):
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def healthy(server):
    return httpx.get(f"{server.url}/health/ready", timeout=PROBE_S).status_code == 200


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_cut(connection):
    """Reads what comes; whether the server has closed the connection by then."""
    try:
        while connection.recv(2**16):
            pass
    except ConnectionResetError:
        pass
    return True


def cuts(server):
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return {
        line.split('"')[1]: float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("eclip_connections_cut_total")
    }


@pytest.mark.parametrize("what", WAITING)
def test_thousands_that_wait_leave_health_and_honest_clients_their_answers(
    serve, tmp_path, opened, radiograph, what
):
    sent, many = WAITING[what]
    with serve(tmp_path, descriptors=DESCRIPTORS) as server:
        at_rest = descriptors(server)
        for number in range(many):
            with suppress(ConnectionError):  # cut while it was still sending
                opened(server, sent)
            if number % (many // 15) == 0:
                assert healthy(server)
                assert descriptors(server) < DESCRIPTORS
        answer = httpx.post(f"{server.url}/embed/image", content=radiograph, timeout=30)
        assert answer.status_code == 200
        assert cuts(server)["room"] > many - DESCRIPTORS
        opened.close_all()
        until(lambda: descriptors(server) <= at_rest + 1)
    events = [json.loads(line)["event"] for line in server.log.read_text().splitlines()]
    assert len(events) - events.count("request") < 100


def test_a_head_has_its_time_and_an_idle_connection_another(serve, tmp_path, opened):
    def answered(connection):
        connection.sendall(HEAD + b"\r\n")
        received = b""
        while not received.endswith(b'"live"}'):
            received += connection.recv(2**16)

    with serve(tmp_path, ECLIP_HEAD_S="1", ECLIP_IDLE_S="60") as server:
        silent, dripping, second, idle = (opened(server, b"") for _ in range(4))
        answered(idle)
        answered(second)
        second.sendall(HEAD)  # and no end
        with suppress(ConnectionError):
            for _ in range(200):
                dripping.sendall(HEAD[:1])
                time.sleep(0.1)
        assert all(is_cut(each) for each in (silent, dripping, second))
        answered(idle)
        assert cuts(server) == {"head": 3}


def test_the_rest_of_a_body_that_has_its_answer_is_not_waited_for(serve, tmp_path, opened):
    unread = POST.replace(b"POST /embed/image", b"GET /health/live")
    with serve(tmp_path, ECLIP_BODY_S="1") as server:
        connection = opened(server, unread)
        assert b" 200 " in connection.recv(2**16)
        assert is_cut(connection)
        late = opened(server, POST)
        assert b" 408 " in late.recv(2**16)
        assert is_cut(late)
        assert cuts(server) == {"rest": 1}


def test_an_answer_that_nobody_reads_is_dropped_and_one_that_is_read_slowly_is_not(
    serve, tmp_path, opened
):
    with serve(tmp_path, ECLIP_IDLE_S="2") as server:
        never = opened(server, UNREAD)
        slow, received = opened(server, UNREAD), 0
        whole = len(httpx.get(f"{server.url}/openapi.json").content) * 40
        while received < whole:
            received += len(slow.recv(2**14))
            time.sleep(0.02)
        until(lambda: cuts(server) == {"reading": 1})
        assert is_cut(never)


def test_a_report_that_takes_longer_than_a_client_may_be_silent_is_not_cut(
    serve, demo_copy, radiograph
):
    with OpenAIServer.running() as model:
        model.hangs = True
        bounds = {"ECLIP_HEAD_S": "1", "ECLIP_IDLE_S": "1", "ECLIP_BODY_S": "1"}
        slow = {"ECLIP_LLM_URL": model.url, "ECLIP_LLM_TIMEOUT_S": "4", "ECLIP_LLM_MODEL": "tiny"}
        with serve(demo_copy, **bounds, **slow) as server:
            for form in ({}, {"stream": "true"}):
                answer = httpx.post(
                    f"{server.url}/generate-report",
                    files={"files": radiograph},
                    data=form,
                    timeout=60,
                )
                assert "urn:eclip:" in answer.text
            assert cuts(server) == {}


def test_a_slow_upload_is_taken_while_it_has_its_time(serve, tmp_path, opened, radiograph):
    with serve(tmp_path, ECLIP_HEAD_S="1", ECLIP_IDLE_S="1", ECLIP_BODY_S="30") as server:
        head = POST.replace(b"1000000", str(len(radiograph)).encode())
        connection, part = opened(server, head), len(radiograph) // 20 + 1
        for start in range(0, len(radiograph), part):
            connection.sendall(radiograph[start : start + part])
            time.sleep(0.2)
        assert b" 200 " in connection.recv(2**16)
