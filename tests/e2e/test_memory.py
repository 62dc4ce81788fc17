"""The server stays under its container's memory, whatever requests come, and answers small ones."""

import asyncio
import io
import socket
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.memory import LIMIT_MIB, Peak
from tests.support.http_load import LOST, Connection, closed_loop, post
from tests.support.large_requests import MIB, large_requests
from tests.support.server import run_server

pytestmark = pytest.mark.slow

SEARCH = post("/retrieve", b'{"text": "left effusion"}', "application/json")
TYPED = {200, 400, 408, 413, 415, 422, 429, 504}


def test_all_kinds_of_large_requests_together_stay_under_the_containers_memory(tmp_path):
    """Bodies may take their time: on a busy machine the clients are slow."""
    kinds = [*large_requests().values()]
    with run_server(tmp_path, ECLIP_BODY_S="280") as server:
        with Peak(server.process.pid) as peak:
            answers = asyncio.run(closed_loop(server.port, kinds * 2, len(kinds)))
        after = asyncio.run(Connection(server.port).ask(SEARCH))
    counts = Counter(answer.status for answer in answers)
    assert set(counts) <= TYPED, counts
    assert counts[LOST] == 0
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 429)
    assert peak.mib < LIMIT_MIB
    assert after.status == 200


def test_uploads_that_never_end_hold_memory_only_until_their_time_is_up(tmp_path):
    """Small requests find room meanwhile, and large ones afterwards."""
    large = post("/embed/image", b"x" * 6 * MIB, "image/png")
    limits = {"ECLIP_MEMORY_BYTES": str(64 * MIB), "ECLIP_BODY_S": "20"}
    with run_server(tmp_path, **limits) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for connection in slow:
            connection.sendall(large[:-100])
        time.sleep(3)  # until they are read: else one of them is refused, and not the next
        assert asyncio.run(Connection(server.port).ask(large)).status == 429
        small = asyncio.run(closed_loop(server.port, [SEARCH] * 4, clients=2))
        assert {answer.status for answer in small} == {200}
        assert {connection.recv(12) for connection in slow} <= {b"HTTP/1.1 408", b"HTTP/1.1 429"}
        after = asyncio.run(Connection(server.port).ask(large))
        for connection in slow:
            connection.close()
    assert after.status == 415


def test_pixels_that_a_client_does_not_take_hold_memory_until_it_leaves(tmp_path):
    """Of 26 MiB for requests an answer of 5.5 MiB finds room three times, and not a fourth time."""
    png = io.BytesIO()
    rows = np.arange(2400, dtype=np.uint16).astype(np.uint8)
    Image.fromarray(np.tile(rows, (2400, 1))).save(png, "PNG")
    display = post("/display", png.getvalue(), "image/png")
    with run_server(tmp_path, ECLIP_MEMORY_BYTES=str(65 * MIB)) as server:
        slow = [narrow_connection(server.port) for _ in range(3)]
        for connection in slow:
            connection.sendall(display)
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert asyncio.run(Connection(server.port).ask(display)).status == 429
        for connection in slow:
            connection.close()
        assert asyncio.run(answered(server.port, display)) == 200


def narrow_connection(port):
    """A connection whose client takes little that it did not ask for."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
    connection.connect(("127.0.0.1", port))
    return connection


async def answered(port, request):
    """The status once the server has seen that clients left."""
    for _ in range(100):
        answer = await Connection(port).ask(request)
        if answer.status != 429:
            break
        await asyncio.sleep(0.1)
    return answer.status
