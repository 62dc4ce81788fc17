"""Sends many HTTP requests at once over raw sockets, with little work of its own for each.

Requests are built beforehand, so that a measurement is of the server and not of its clients.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

LOST = 0
"""The status of an answer that never came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or `LOST` as its status. `seconds` count from the first byte sent."""

    status: int
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def request(method: str, path: str, body: bytes = b"", content_type: str | None = None) -> bytes:
    """Returns the bytes of a whole request."""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def post(path: str, body: bytes, content_type: str) -> bytes:
    """Returns the bytes of a whole POST request."""
    return request("POST", path, body, content_type)


class Connection:
    """A kept-alive connection: opened when needed, and again after the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Sends one request and reads its answer."""
        start = time.perf_counter()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(request)
            await writer.drain()
            status, headers, body = await _read_answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Answer(LOST, time.perf_counter() - start)
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, time.perf_counter() - start, headers, body)

    def close(self) -> None:
        """Closes the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def closed_loop(port: int, requests: Sequence[bytes], clients: int) -> list[Answer]:
    """Returns the answers in order; each client sends its next request when it is answered."""
    answers: dict[int, Answer] = {}
    numbers = iter(range(len(requests)))

    async def client() -> None:
        connection = Connection(port)
        for number in numbers:
            answers[number] = await connection.ask(requests[number])
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return [answers[number] for number in range(len(requests))]


async def open_loop(
    port: int, requests: Sequence[bytes], per_second: float, seed: int = 0
) -> list[Answer]:
    """Returns the answers in order; requests are sent by a Poisson process, answered or not."""
    rng, idle, due = random.Random(seed), list[Connection](), time.perf_counter()

    async def send(request: bytes) -> Answer:
        connection = idle.pop() if idle else Connection(port)
        answer = await connection.ask(request)
        idle.append(connection)
        return answer

    tasks = []
    for request in requests:
        due += rng.expovariate(per_second)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(send(request)))
    answers = await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return answers


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body
