"""Runs a server through ten bad minutes, and counts what became of every request.

`python -m tests.benchmarks.promises` keeps a server busy with bulk work, searches,
classifications, reports and deletions. Meanwhile it kills the server twice, and fills its disk and
frees it again. The disk is a small tmpfs, so the run needs root. It prints for each kind of request
how many were answered, refused (by reason), cut off by a kill, and lost; what the interactive ones
took; memory and descriptors; and whether the library holds what was acknowledged, and nothing of
what was deleted.
"""

import asyncio
import json
import math
import os
import random
import re
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import psutil
import typer

from service.settings import DEMO_LIBRARY
from tests.support.http_load import LOST, Answer, Connection, request
from tests.support.server import Server, run_server

SECONDS = 600.0
DISK_MB = 1024
LIVES = (0.2, 0.4, 0.4)
"""Shares of the run after which the server is killed, twice, and then stopped."""
FULL = (0.15, 0.3)
"""Shares of the run after which the disk is filled in the second life, and freed."""
ERASED_S = 300.0
"""Seconds that the erasure of the last deletions is waited for. The answers' bound is an hour."""
PAUSE_S = 0.2
"""Seconds that a client waits after a refusal."""
PICTURES = [path.read_bytes() for path in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:60]]
FINDINGS = ("effusion", "nodule", "consolidation", "pneumothorax", "opacity", "cardiomegaly")
WORD = re.compile(rb"zq[0-9a-f]{16}")
"""A word that one report alone has."""
INTERACTIVE = ("search", "classification", "report")


@dataclass
class Run:
    """What the clients share: where the server is, and what became of their requests."""

    end: float = math.inf
    """When no more requests are sent, by `time.monotonic`."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    port: int | None = None
    """None while no server runs."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    """Ids of studies whose storing was acknowledged."""
    gone: set[str] = field(default_factory=set)
    """Words of studies whose deletion was acknowledged."""

    async def ask(self, kind: str, wanted: bytes) -> Answer:
        """Sends a request over a connection of its own, and counts what became of it."""
        while self.port is None:
            await asyncio.sleep(PAUSE_S)
        port = self.port
        connection = Connection(port)
        answer = await connection.ask(wanted)
        connection.close()
        self.counts.setdefault(kind, Counter())[_outcome(answer, killed=self.port != port)] += 1
        if answer.status < 300 and answer.status != LOST:
            self.seconds.setdefault(kind, []).append(answer.seconds)
        else:
            await asyncio.sleep(PAUSE_S)
        return answer


def main(
    seconds: Annotated[float, typer.Option(min=30)] = SECONDS,
    disk_mb: Annotated[int, typer.Option(min=256)] = DISK_MB,
) -> None:
    """Prints the figures."""
    run = Run()
    with tempfile.TemporaryDirectory() as scratch, _small_disk(Path(scratch), disk_mb) as disk:
        clients = threading.Thread(target=lambda: asyncio.run(_clients(run)), daemon=True)
        clients.start()
        peaks = _lives(run, seconds, Path(scratch), disk, clients)
        found = _found(run, Path(scratch), disk)
    _print(run, peaks, found)


async def _clients(run: Run) -> None:
    work: list[Callable[[Run, int], Awaitable[None]]] = [
        *[_bulk_texts] * 2,
        _bulk_studies,
        *[_search] * 2,
        _classify,
        _report,
        _delete,
    ]

    async def client(step: Callable[[Run, int], Awaitable[None]], who: int) -> None:
        number = who
        while time.monotonic() < run.end:
            await step(run, number)
            number += len(work)

    await asyncio.gather(*(client(step, who) for who, step in enumerate(work)))


async def _bulk_texts(run: Run, number: int) -> None:
    texts = [f"{run.rng.choice(FINDINGS)} {number} {at}" for at in range(256)]
    await run.ask("bulk texts", _json("POST", "/embed/text", {"texts": texts}))


async def _bulk_studies(run: Run, number: int) -> None:
    ids = [f"bulk-{number}-{at}" for at in range(32)]
    lines = [{"study_id": each, "patient_id": each, "report": _report_text(run)} for each in ids]
    answer = await run.ask("bulk studies", _json("POST", "/studies", lines))
    if answer.status == 200:
        items = json.loads(answer.body)["items"]
        run.kept |= {ids[item["index"]] for item in items if "study" in item}


async def _search(run: Run, number: int) -> None:
    text = f"{run.rng.choice(FINDINGS)} {number}"
    await run.ask("search", _json("POST", "/retrieve", {"text": text, "k": 5}))


async def _classify(run: Run, _: int) -> None:
    await run.ask("classification", request("POST", "/classify", _picture(run), "image/jpeg"))


async def _report(run: Run, _: int) -> None:
    await run.ask("report", request("POST", "/generate-report", _picture(run), "image/jpeg"))


async def _delete(run: Run, number: int) -> None:
    """Stores a patient with a word of its own, and deletes the patient."""
    word = f"zq{number:08x}{run.rng.getrandbits(32):08x}"
    report = {"patient_id": word, "report": f"FINDINGS: Nodule {word}. {_report_text(run)}"}
    stored = await run.ask("storing", _json("PUT", f"/studies/{word}", report))
    if stored.status != 200:
        return
    while time.monotonic() < run.end:
        answer = await run.ask("deletion", request("DELETE", f"/patients/{word}"))
        if answer.status == 200:
            run.gone.add(word)
            return
    run.kept.add(word)


def _lives(
    run: Run, seconds: float, scratch: Path, disk: Path, clients: threading.Thread
) -> dict[str, float]:
    """Runs the server, kills it and starts it again, and stops it after the last answer.

    Returns peaks of its memory, its descriptors, and the age of what is not erased yet.
    """
    peaks = {"MB": 0.0, "descriptors": 0.0, "due_s": 0.0}
    for number, share in enumerate(LIVES):
        last = number == len(LIVES) - 1
        with _server(scratch, disk) as server:
            begin = time.monotonic()
            end = begin + share * seconds
            if last:
                run.end = end
            run.port = server.port
            while (now := time.monotonic()) < end:
                full = [begin + moment * seconds for moment in FULL]
                _fill(disk, number == 1 and full[0] <= now < full[1])
                _measure(server, peaks)
                time.sleep(0.25)
            if last:
                clients.join()
            else:
                run.port = None
                server.process.kill()
                server.process.wait()
    return peaks


def _found(run: Run, scratch: Path, disk: Path) -> dict[str, float]:
    """Returns how many acknowledged studies are missing, how many deleted words are left, and the
    seconds that their erasure took after the start.
    """
    with _server(scratch, disk) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            missing = sum(client.get(f"/studies/{each}").status_code != 200 for each in run.kept)
        erased_s = _wait_for_erasure(server)
        raw = b"".join(path.read_bytes() for path in disk.rglob("*") if path.is_file())
        left = len({word.encode() for word in run.gone} & set(WORD.findall(raw)))
    return {"missing": missing, "left": left, "erased_s": erased_s}


def _wait_for_erasure(server: Server) -> float:
    """Waits until no deletion is left to erase. Returns the seconds that it took."""
    start = time.monotonic()
    while _due_s(server) > 0 and time.monotonic() < start + ERASED_S:
        time.sleep(PAUSE_S)
    return time.monotonic() - start


def _due_s(server: Server) -> float:
    """Returns the age of the oldest deletion that is not erased yet; 0 if there is none."""
    name = "eclip_erasure_due_seconds "
    lines = httpx.get(f"{server.url}/metrics", timeout=30).text.splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def _server(scratch: Path, disk: Path) -> AbstractContextManager[Server]:
    return run_server(
        scratch, "--demo", ECLIP_DATA_DIR=str(disk), ECLIP_CACHE_ITEMS="0", ECLIP_LOG_LEVEL="error"
    )


@contextmanager
def _small_disk(scratch: Path, megabytes: int) -> Iterator[Path]:
    disk = scratch / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)], check=True
    )
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(disk: Path, full: bool) -> None:
    """Fills the disk to the last block, or frees it."""
    filler = disk / "filler"
    if not full:
        filler.unlink(missing_ok=True)
        return
    room = os.statvfs(disk)
    with filler.open("ab") as file, suppress(OSError):  # the server was faster: soon again
        os.posix_fallocate(
            file.fileno(), filler.stat().st_size, max(1, room.f_bavail * room.f_frsize)
        )


def _measure(server: Server, peaks: dict[str, float]) -> None:
    process = psutil.Process(server.process.pid)
    tree = [process, *process.children(recursive=True)]
    peaks["MB"] = max(peaks["MB"], sum(each.memory_info().rss for each in tree) / 2**20)
    peaks["descriptors"] = max(peaks["descriptors"], process.num_fds())
    with suppress(httpx.TransportError):
        peaks["due_s"] = max(peaks["due_s"], _due_s(server))


def _outcome(answer: Answer, *, killed: bool) -> str:
    if answer.status == LOST:
        return "cut off by a kill" if killed else "LOST"
    if answer.status < 300:
        return "answered"
    kind = json.loads(answer.body).get("type", "?").removeprefix("urn:eclip:")
    return f"{answer.status} {kind}"


def _json(method: str, path: str, value: object) -> bytes:
    return request(method, path, json.dumps(value).encode(), "application/json")


def _picture(run: Run) -> bytes:
    return run.rng.choice(PICTURES) + run.rng.randbytes(8)


def _report_text(run: Run) -> str:
    said = run.rng.choices(FINDINGS, k=3)
    return f"FINDINGS: Small {said[0]}. No {said[1]}. IMPRESSION: {said[2].capitalize()}."


def _print(run: Run, peaks: dict[str, float], found: dict[str, float]) -> None:
    for kind, counts in run.counts.items():
        typer.echo(f"{kind}: {sum(counts.values())} sent, {dict(counts.most_common())}")
    for kind in INTERACTIVE:
        p50, p99 = np.percentile(run.seconds[kind], (50, 99)) * 1000
        typer.echo(f"{kind}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    lost = sum(counts["LOST"] for counts in run.counts.values())
    typer.echo(
        f"lost {lost}; of {len(run.kept)} acknowledged studies {found['missing']:.0f} missing; of "
        f"{len(run.gone)} deleted patients {found['left']:.0f} readable on the disk\n"
        f"a deletion waited {peaks['due_s']:.0f} s at most to be erased, the last "
        f"{found['erased_s']:.0f} s after the start\n"
        f"memory {peaks['MB']:.0f} MB at most, descriptors {peaks['descriptors']:.0f} at most"
    )


if __name__ == "__main__":
    typer.run(main)
