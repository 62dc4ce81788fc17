"""Measures the server's peak of resident memory, processes that it starts included, under load.

    python -m tests.benchmarks.memory [--clients 8] [--rounds 2]

Each kind of large request comes from all clients at once, then all kinds come together. The peak
must stay under what docker-compose.yml allows; if it does not, the exit status is 1.
"""

import asyncio
import contextlib
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Annotated

import psutil
import typer

from tests.support.http_load import closed_loop
from tests.support.large_requests import MIB, large_requests
from tests.support.server import run_server

LIMIT_MIB = 2048
"""`mem_limit` of the service in docker-compose.yml."""
POLL_S = 0.02


class Peak:
    """The greatest resident size in MiB of a process and those that it starts, meanwhile."""

    def __init__(self, pid: int, poll_s: float = POLL_S) -> None:
        self._process, self._end = psutil.Process(pid), threading.Event()
        self._poll_s, self.mib = poll_s, 0.0

    def __enter__(self) -> "Peak":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(self._poll_s):
            with contextlib.suppress(psutil.NoSuchProcess):
                tree = [self._process, *self._process.children(recursive=True)]
                self.mib = max(self.mib, sum(each.memory_info().rss for each in tree) / MIB)


def main(
    clients: Annotated[int, typer.Option(help="Clients that send at the same time")] = 8,
    rounds: Annotated[int, typer.Option(help="Requests of each client and kind")] = 2,
) -> None:
    """Measures and prints."""
    kinds, worst = large_requests(), 0.0
    loads = {name: [request] * clients * rounds for name, request in kinds.items()}
    loads["all kinds together"] = [*kinds.values()] * rounds
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder), "--demo") as server:
        for name, requests in loads.items():
            with Peak(server.process.pid) as peak:
                together = clients if len(set(requests)) == 1 else len(kinds)
                answers = asyncio.run(closed_loop(server.port, requests, together))
            worst = max(worst, peak.mib)
            statuses = dict(sorted(Counter(answer.status for answer in answers).items()))
            typer.echo(f"{name:34} peak {peak.mib:6.0f} MiB  {statuses}")
    typer.echo(f"{'greatest peak':34} {worst:11.0f} MiB of {LIMIT_MIB}")
    sys.exit(worst > LIMIT_MIB)


if __name__ == "__main__":
    typer.run(main)
