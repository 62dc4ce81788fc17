"""What a busy server meets: every request is answered, by its own answer or by a typed refusal."""

import asyncio
import base64
import io
import json
import signal
import socket
import threading
import time
from collections import Counter

import numpy as np
from PIL import Image

from service.settings import DEMO_LIBRARY
from tests.conftest import run_server
from tests.load import LOST, Connection, closed_loop, post

PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:20]]
NO_CACHE = {"ECLIP_CACHE_ITEMS": "0"}


def embed(image):
    return post("/embed/image?encoding=base64", image, "image/jpeg")


def large(side=1600):
    """A picture that takes a while to decode."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side)).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def vector(answer):
    packed = json.loads(answer.body)["items"][0]["embedding"]
    return np.frombuffer(base64.b64decode(packed), "<f4")


def test_one_truncated_image_in_a_hundred_costs_nobody_else_an_answer(tmp_path):
    images = [PICTURES[at % len(PICTURES)] for at in range(600)]
    bad = {at for at in range(600) if at % 100 == 57}
    for at in bad:
        images[at] = images[at][: len(images[at]) // 2]
    with run_server(tmp_path, **NO_CACHE) as server:
        alone = asyncio.run(closed_loop(server.port, [embed(one) for one in PICTURES], clients=1))
        crowd = asyncio.run(closed_loop(server.port, [embed(one) for one in images], clients=16))
    assert Counter(answer.status for answer in crowd) == {200: 600 - len(bad), 422: len(bad)}
    for at, answer in enumerate(crowd):
        if at in bad:
            assert b"image/undecodable" in answer.body
        else:
            expected = vector(alone[at % len(PICTURES)])
            np.testing.assert_allclose(vector(answer), expected, atol=1e-5)


def test_five_hundred_clients_on_a_queue_of_64_are_all_answered_or_told_when_to_come_back(tmp_path):
    sent = [embed(PICTURES[at % len(PICTURES)]) for at in range(1000)]
    with run_server(tmp_path, ECLIP_QUEUE_ITEMS="64", **NO_CACHE) as server:
        answers = asyncio.run(closed_loop(server.port, sent, clients=500))
        after = asyncio.run(Connection(server.port).ask(sent[0]))
    counts = Counter(answer.status for answer in answers)
    assert counts[LOST] == 0
    assert set(counts) == {200, 429}
    assert sum(counts.values()) == 1000
    assert counts[200] >= 64
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status == 429)
    assert after.status == 200


def test_a_client_of_one_byte_a_second_is_told_so_and_delays_nobody(tmp_path):
    request = embed(PICTURES[0])
    with (
        run_server(tmp_path, ECLIP_BODY_S="2", **NO_CACHE) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow,
    ):
        slow.sendall(request[: request.index(b"\r\n\r\n") + 5])
        others = asyncio.run(closed_loop(server.port, [*map(embed, PICTURES)], clients=2))
        assert {answer.status for answer in others} == {200}
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"urn:eclip:request/too-slow" in answer


def test_bodies_that_together_are_more_than_the_server_may_hold_are_told_to_come_back(tmp_path):
    image = large()
    limits = {"ECLIP_MAX_HELD_BYTES": str(3 * len(image)), "ECLIP_CACHE_ITEMS": "0"}
    with run_server(tmp_path, **limits) as server:
        answers = asyncio.run(closed_loop(server.port, [embed(image)] * 24, clients=12))
        alone = asyncio.run(Connection(server.port).ask(embed(image)))
    assert {answer.status for answer in answers} == {200, 429}
    assert alone.status == 200


def test_sigterm_under_load_answers_what_was_accepted_and_ends_with_0(tmp_path):
    with run_server(tmp_path, **NO_CACHE) as server:
        image = embed(large())
        terminate = threading.Timer(1.0, server.process.send_signal, [signal.SIGTERM])
        terminate.start()
        answers = asyncio.run(closed_loop(server.port, [image] * 400, clients=8))
        assert server.process.wait(timeout=60) == 0
    counts = Counter(answer.status for answer in answers)
    assert set(counts) <= {200, LOST}
    assert counts[200] > 8
    unanswered = [answer for answer in answers if answer.status == LOST]
    assert all(answer.seconds < 1 for answer in unanswered), "an accepted request was dropped"


def test_what_waits_past_its_deadline_is_answered_504_and_the_next_request_is_served(tmp_path):
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n%b\r\n' % image
        for image in [large()] * 60
    )
    request = post("/embed/image", form + b"--x--\r\n", "multipart/form-data; boundary=x")
    bounds = {"ECLIP_DEADLINE_S": "0.5", "ECLIP_MAX_BODY_BYTES": str(2**30)}
    with run_server(tmp_path, **bounds, **NO_CACHE) as server:
        late = asyncio.run(Connection(server.port).ask(request))
        time.sleep(1)
        after = asyncio.run(Connection(server.port).ask(embed(PICTURES[0])))
    assert late.status == 504
    assert b"urn:eclip:deadline/exceeded" in late.body
    assert after.status == 200


def test_a_search_does_not_wait_for_the_bulk_work_that_came_before_it(tmp_path):
    heavy = embed(large())
    search = post("/retrieve", b'{"text": "left effusion"}', "application/json")

    async def crowd(port):
        """The images answered between the search's sending and its answer."""
        done = []

        async def one():
            done.append((await Connection(port).ask(heavy)).status)

        bulk = [asyncio.create_task(one()) for _ in range(150)]
        while len(done) < 5:
            await asyncio.sleep(0.01)
        before = len(done)
        answer = await Connection(port).ask(search)
        between = len(done) - before
        await asyncio.gather(*bulk)
        return answer.status, between, set(done)

    with run_server(tmp_path, "--demo", **NO_CACHE) as server:
        status, between, statuses = asyncio.run(crowd(server.port))
    assert (status, statuses) == (200, {200})
    assert between < 50


def test_int8_answers_are_those_of_an_image_alone_whoever_else_asks(int8_demo, tmp_path):
    bundle = {"ECLIP_BUNDLE": str(int8_demo.path), "ECLIP_PRECISION": "int8"}
    with run_server(tmp_path, **bundle, **NO_CACHE) as server:
        alone = [asyncio.run(Connection(server.port).ask(embed(one))).body for one in PICTURES]
        crowd = asyncio.run(closed_loop(server.port, [embed(PICTURES[0])] * 64, clients=16))
    assert {answer.body for answer in crowd} == {alone[0]}
