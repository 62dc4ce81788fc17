"""Which connection gives way, seen from clients of a real server with a small application."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from service import connections
from service.connections import Connections

ANSWER = b"x" * 10**6
ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"


class Application:
    """Answers with a megabyte; at /wait once `go` is set; takes a body first."""

    def __init__(self):
        self.go, self.asked, self.received = threading.Event(), 0, 0

    async def __call__(self, scope, receive, send):
        self.asked += 1
        more = True
        while more:
            message = await receive()
            self.received += len(message.get("body", b""))
            more = message.get("more_body", False)
        while scope["path"] == "/wait" and not self.go.is_set():
            await asyncio.sleep(0.01)
        length = (b"content-length", str(len(ANSWER)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": ANSWER})


@contextmanager
def serving(bound, application):
    """Gives a function that connects and sends bytes, and the server's connections."""
    kept = Connections(bound, head_s=60, body_s=60, idle_s=60)
    server = uvicorn.Server(
        uvicorn.Config(application, port=0, http=kept.protocol, lifespan="off", log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    port, clients = server.servers[0].sockets[0].getsockname()[1], []

    def connect(sent):
        client = socket.create_connection(("127.0.0.1", port), timeout=20)
        clients.append(client)
        client.sendall(sent)
        return client

    yield connect, kept
    application.go.set()
    for client in clients:
        client.close()
    server.should_exit = True
    thread.join()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_open(client):
    """Whether the server has not closed the connection, of which nothing is to be read."""
    client.setblocking(False)
    try:
        return bool(client.recv(1))
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@pytest.fixture
def application():
    return Application()


def test_who_has_been_silent_longest_gives_way_and_who_speaks_does_not(application):
    with serving(3, application) as (connect, kept):
        waiting, upload, silent = connect(WAIT), connect(UPLOAD), connect(b"")
        until(lambda: application.asked == 2 and len(kept) == 3)
        upload.sendall(b"x" * 50)
        until(lambda: application.received == 50)
        connect(b"")
        until(lambda: not is_open(silent))
        assert is_open(waiting)
        assert is_open(upload)


def test_where_all_wait_for_the_service_the_new_connection_gives_way(application):
    with serving(2, application) as (connect, _):
        busy = [connect(WAIT), connect(WAIT)]
        until(lambda: application.asked == 2)
        new = connect(b"")
        until(lambda: not is_open(new))
        assert all(is_open(client) for client in busy)


def test_unread_answers_take_a_bounded_memory(application, monkeypatch):
    monkeypatch.setattr(connections, "SWEEP_S", 0.05)
    monkeypatch.setattr(connections, "UNREAD_BYTES", 2 * len(ANSWER))
    with serving(100, application) as (connect, kept):
        for _ in range(8):
            connect(ASK * 3)
        until(lambda: application.asked >= 8)
        until(lambda: len(kept) <= 3)  # each keeps up to a megabyte of its first answer
        assert len(kept) > 0
