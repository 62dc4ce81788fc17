"""Measures whether a server's memory and open files grow over many requests.

`python -m tests.benchmarks.soak` sends 50,000 requests, an hour's work at 14 a second, as fast as
they are answered: images, texts, searches, classifications and reports, one in a hundred of them
damaged, over connections that come and go. It prints the answers by status, and the slope of
resident memory and of descriptors over the second half, when caches and arenas are full.
"""

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

from service.settings import DEMO_LIBRARY
from tests.support.http_load import LOST, closed_loop, post
from tests.support.server import run_server

HOUR, BURST, CLIENTS = 50_000, 500, 16
PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:60]]
WORDS = ("left", "right", "large", "small", "effusion", "nodule", "lung", "no", "severe", "zone")


def main(requests: Annotated[int, typer.Option(min=2 * BURST)] = HOUR) -> None:
    """Prints the figures."""
    rng, counts, samples = random.Random(0), Counter[int](), []
    with (
        tempfile.TemporaryDirectory() as scratch,
        run_server(Path(scratch), "--demo", ECLIP_LOG_LEVEL="warning") as server,
    ):
        process = psutil.Process(server.process.pid)
        start = time.perf_counter()
        for done in range(0, requests, BURST):
            burst = [request(rng) for _ in range(BURST)]
            answers = asyncio.run(closed_loop(server.port, burst, CLIENTS))
            counts.update(answer.status for answer in answers)
            samples.append((done, process.memory_info().rss / 2**20, process.num_fds()))
        took = time.perf_counter() - start
    half = np.array(samples[len(samples) // 2 :])
    rss, files = (np.polyfit(half[:, 0] / 10_000, half[:, at], 1)[0] for at in (1, 2))
    typer.echo(
        f"{requests} requests in {took:.0f} s by status: {dict(sorted(counts.items()))}, "
        f"lost {counts[LOST]}\n"
        f"memory {samples[0][1]:.0f} MB at first, {samples[-1][1]:.0f} MB at last, "
        f"{rss:+.2f} MB per 10,000 requests\n"
        f"descriptors {samples[0][2]} at first, {samples[-1][2]} at last, "
        f"{files:+.2f} per 10,000 requests"
    )


def request(rng: random.Random) -> bytes:
    """Returns a request that differs from all before; one in a hundred is damaged."""
    image = rng.choice(PICTURES) + rng.randbytes(8)
    text = {"text": " ".join(rng.choices(WORDS, k=6)), "target": "report", "k": 5}
    asked = rng.choices(
        (
            ("/embed/image", image, "image/jpeg"),
            ("/classify", image, "image/jpeg"),
            ("/retrieve?target=image", image, "image/jpeg"),
            ("/retrieve", json.dumps(text).encode(), "application/json"),
            ("/embed/text", json.dumps({"texts": [text["text"]]}).encode(), "application/json"),
            ("/generate-report", image, "image/jpeg"),
        ),
        weights=(8, 4, 4, 4, 4, 1),
    )[0]
    path, body, kind = asked
    return post(path, body[: len(body) // 2] if rng.random() < 0.01 else body, kind)


if __name__ == "__main__":
    typer.run(main)
