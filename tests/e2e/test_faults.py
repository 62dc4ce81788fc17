"""A busy server answers every request, with its own answer or with a typed refusal."""

import asyncio
import base64
import io
import json
import signal
import socket
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from service.settings import DEMO_LIBRARY
from tests.support.http_load import LOST, Connection, closed_loop, post
from tests.support.server import run_server

pytestmark = pytest.mark.slow

PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:20]]
NO_CACHE = {"ECLIP_CACHE_ITEMS": "0"}


def embed(image):
    return post("/embed/image?encoding=base64", image, "image/jpeg")


def large(side=1600):
    """A JPEG that takes some time to decode."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side)).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def vector(answer):
    packed = json.loads(answer.body)["items"][0]["embedding"]
    return np.frombuffer(base64.b64decode(packed), "<f4")


def test_one_truncated_image_in_a_hundred_costs_no_other_request_its_answer(tmp_path):
    images = [PICTURES[number % len(PICTURES)] for number in range(300)]
    truncated = range(57, 300, 100)
    for number in truncated:
        images[number] = images[number][: len(images[number]) // 2]
    with run_server(tmp_path, **NO_CACHE) as server:
        alone = asyncio.run(closed_loop(server.port, [*map(embed, PICTURES)], clients=1))
        crowd = asyncio.run(closed_loop(server.port, [*map(embed, images)], clients=16))
    assert Counter(answer.status for answer in crowd) == {200: 297, 422: 3}
    for number, answer in enumerate(crowd):
        if number in truncated:
            assert b"image/undecodable" in answer.body
        else:
            expected = vector(alone[number % len(PICTURES)])
            np.testing.assert_allclose(vector(answer), expected, atol=1e-5)


def test_a_queue_of_64_answers_or_refuses_each_of_five_hundred_clients(tmp_path):
    sent = [embed(PICTURES[number % len(PICTURES)]) for number in range(1000)]
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


@pytest.mark.parametrize("clients", [2, 8])
def test_no_search_is_refused_while_bulk_work_saturates_the_model(tmp_path, clients):
    bulk = [
        post("/embed/text", json.dumps({"texts": texts}).encode(), "application/json")
        for texts in np.array([f"Nodule {at}." for at in range(256 * 16)]).reshape(16, 256).tolist()
    ]
    searches = [
        post("/retrieve", json.dumps({"text": f"effusion {at}"}).encode(), "application/json")
        for at in range(20)
    ]

    async def both(port):
        many = asyncio.create_task(closed_loop(port, bulk, clients=clients))
        few = await closed_loop(port, searches, clients=2)
        return await many, few

    with run_server(tmp_path, **NO_CACHE) as server:
        many, few = asyncio.run(both(server.port))
    assert {answer.status for answer in few} == {200}
    assert {answer.status for answer in many} <= {200, 429}
    assert sum(answer.status == 200 for answer in many) >= 2


def test_health_is_answered_while_bulk_work_saturates_the_server(tmp_path):
    texts = [[f"Nodule {at} {part}." for part in range(256)] for at in range(8)]
    bulk = [
        post("/embed/text", json.dumps({"texts": each}).encode(), "application/json")
        for each in texts
    ]
    health = b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    async def both(port):
        answers, asked = asyncio.create_task(closed_loop(port, bulk, clients=4)), []
        while not answers.done():
            asked.append(await Connection(port).ask(health))
        return await answers, asked

    with run_server(tmp_path, **NO_CACHE) as server:
        answers, asked = asyncio.run(both(server.port))
    assert {answer.status for answer in answers} <= {200, 429}
    assert {answer.status for answer in asked} == {200}
    assert len(asked) > len(answers)


def test_a_body_that_never_arrives_whole_is_answered_408_and_delays_no_other_request(tmp_path):
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


def test_bodies_over_the_memory_of_all_requests_are_refused_until_there_is_room(tmp_path):
    image = large(2000)
    limits = {"ECLIP_MEMORY_BYTES": str(64 << 20), "ECLIP_CACHE_ITEMS": "0"}
    with run_server(tmp_path, **limits) as server:
        answers = asyncio.run(closed_loop(server.port, [embed(image)] * 40, clients=20))
        alone = asyncio.run(Connection(server.port).ask(embed(image)))
    assert {answer.status for answer in answers} == {200, 429}
    assert alone.status == 200


def test_sigterm_under_load_answers_what_was_accepted_and_ends_with_0(tmp_path):
    """What was accepted is in the log: each of its requests must have reached its client."""
    request, statuses = embed(large()), []

    async def client(server):
        """Asks until the server is gone; SIGTERM follows the sixteenth answer of all clients."""
        connection = Connection(server.port)
        while (answer := await connection.ask(request)).status != LOST:
            statuses.append(answer.status)
            if len(statuses) == 16:
                server.process.send_signal(signal.SIGTERM)

    async def clients(server):
        await asyncio.gather(*(client(server) for _ in range(8)))

    with run_server(tmp_path, **NO_CACHE) as server:
        asyncio.run(clients(server))
        assert server.process.wait(timeout=60) == 0
    assert len(statuses) >= 16
    assert {*statuses} == {200}
    lines = server.log.read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    accepted = [each["status"] for each in records if each.get("route") == "/embed/image"]
    assert accepted == statuses


async def served(port, request, attempts=50):
    """Sends the request until it is answered 200, at most so often; returns the last answer."""
    for _ in range(attempts):
        answer = await Connection(port).ask(request)
        if answer.status == 200:
            break
    return answer


def test_a_request_past_its_deadline_is_answered_504_and_later_ones_are_served(tmp_path):
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n%b\r\n' % image
        for image in [large()] * 60
    )
    request = post("/embed/image", form + b"--x--\r\n", "multipart/form-data; boundary=x")
    bounds = {"ECLIP_DEADLINE_S": "0.5", "ECLIP_MAX_BODY_BYTES": str(2**30)}
    with run_server(tmp_path, **bounds, **NO_CACHE) as server:
        late = asyncio.run(Connection(server.port).ask(request))
        after = asyncio.run(served(server.port, embed(PICTURES[0])))
    assert late.status == 504
    assert b"urn:eclip:deadline/exceeded" in late.body
    assert after.status == 200


def test_a_search_does_not_wait_for_the_bulk_work_that_came_before_it(demo_copy):
    heavy = embed(large())
    search = post("/retrieve", b'{"text": "left effusion"}', "application/json")

    async def crowd(port):
        """Returns the search's status, the images answered meanwhile, and all their statuses."""
        done = []

        async def ask():
            done.append((await Connection(port).ask(heavy)).status)

        bulk = [asyncio.create_task(ask()) for _ in range(150)]
        while len(done) < 5:
            await asyncio.sleep(0.01)
        before = len(done)
        answer = await Connection(port).ask(search)
        between = len(done) - before
        await asyncio.gather(*bulk)
        return answer.status, between, set(done)

    with run_server(demo_copy, **NO_CACHE) as server:
        status, between, statuses = asyncio.run(crowd(server.port))
    assert (status, statuses) == (200, {200})
    assert between < 50


def test_int8_answers_do_not_depend_on_what_shares_the_batch(int8_demo, tmp_path):
    bundle = {"ECLIP_BUNDLE": str(int8_demo.path), "ECLIP_PRECISION": "int8"}
    with run_server(tmp_path, **bundle, **NO_CACHE) as server:
        alone = asyncio.run(closed_loop(server.port, [*map(embed, PICTURES)], clients=1))
        crowd = asyncio.run(closed_loop(server.port, [*map(embed, PICTURES)] * 4, clients=16))
    assert [answer.body for answer in crowd] == [answer.body for answer in alone] * 4
