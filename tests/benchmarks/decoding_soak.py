"""Decodes many DICOM files of every transfer syntax, some damaged, and prints what is left behind.

`python -m tests.benchmarks.decoding_soak` decodes 10,000 files of 300 to 600 pixels on threads of
this process, and sends one in ten of them to a server as well. One in ten is damaged: cut, or with
one bit flipped. It prints how they were answered, and what the processes hold meanwhile (this
process with its decoders and the server, then the server with its own). It fails
if an undamaged file is not answered as it was the first time.
"""

import hashlib
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer

from service.errors import EclipError
from service.imaging import decoder_processes
from service.imaging.decode import ImageLimits, decode
from tests.support.archive import SYNTAXES, archived
from tests.support.damage import flip
from tests.support.processes import Held
from tests.support.server import run_server
from tests.support.synthetic import radiograph

IMAGES, THREADS, SIDES = 10_000, 8, (300, 600)
ONE_IN = 10
"""Of so many files one is damaged, and one is also sent to a server."""
MOST_S = 2
"""Seconds for a frame in this process, so that damaged JPEG-LS does not decide how long it takes.

The server keeps the product's own limit, and is sent damaged files of other syntaxes alone."""
SLOW_DAMAGED = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})


@dataclass(frozen=True)
class File:
    """A DICOM file, its transfer syntax, and the digest of the image that it shows."""

    data: bytes
    syntax: str
    shown: str


@dataclass
class Outcomes:
    """Answers by kind, and what is held after how many files."""

    here: Counter[str] = field(default_factory=Counter)
    server: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    held: dict[int, tuple[Held, Held]] = field(default_factory=dict)


def main(images: Annotated[int, typer.Option(min=20)] = IMAGES) -> None:
    """Prints the figures. Fails if an undamaged file was not answered as it was at first."""
    decoder_processes.MOST_S = MOST_S
    start = time.perf_counter()
    outcomes = soaked(images)
    typer.echo(report(images, outcomes, time.perf_counter() - start))
    if outcomes.wrong:
        sys.exit(1)


def soaked(images: int) -> Outcomes:
    """Decodes so many files, and counts at a tenth, a half and all of them."""
    outcomes, files = Outcomes(), good_files()
    with (
        tempfile.TemporaryDirectory() as scratch,
        run_server(Path(scratch), "--demo", ECLIP_LOG_LEVEL="warning") as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        done = 0
        for until in (images // 10, images // 2, images):
            numbers = range(done, until)
            for kind, right in threads.map(lambda at: answer(files, at, client), numbers):
                place, _, name = kind.partition(" ")
                getattr(outcomes, place)[name] += 1
                outcomes.wrong += not right
            done = until
            outcomes.held[until] = Held.by(), Held.by(server.process.pid)
    return outcomes


def good_files() -> list[File]:
    """Returns files of every syntax in four sizes."""
    files, rng = [], random.Random(0)
    for number in range(4 * len(SYNTAXES)):
        syntax = SYNTAXES[number % len(SYNTAXES)]
        pixels = radiograph(rng.randint(*SIDES), rng.randint(*SIDES), 12)
        data = archived(syntax, pixels)
        files.append(File(data, str(syntax), digest(data)))
    return files


def digest(data: bytes) -> str:
    """Returns the digest of the image that a file shows."""
    return hashlib.sha256(decode(data, ImageLimits()).pixels.tobytes()).hexdigest()


def answer(files: list[File], number: int, client: httpx.Client) -> tuple[str, bool]:
    """Returns how one file is answered, and whether that is right."""
    rng = random.Random(number)
    file = rng.choice(files)
    damaged = rng.randrange(ONE_IN) == 0
    by_server = rng.randrange(ONE_IN) == 0 and not (damaged and file.syntax in SLOW_DAMAGED)
    data = damage(file.data, rng) if damaged else file.data
    try:
        if by_server:
            return _answer_of_server(client, data, damaged=damaged)
        right = digest(data) == file.shown
    except EclipError as error:
        return f"here {error.type}", damaged
    return "here answered", right or damaged


def _answer_of_server(client: httpx.Client, data: bytes, *, damaged: bool) -> tuple[str, bool]:
    reply = client.post("/embed/image", content=data)
    if reply.status_code == 200:
        return "server answered", True
    return f"server {reply.json()['type'].removeprefix('urn:eclip:')}", damaged


def damage(data: bytes, rng: random.Random) -> bytes:
    """Returns the file cut, or with one bit flipped."""
    if rng.randrange(2):
        return data[: rng.randrange(len(data))]
    return flip(data, rng.randrange(8 * len(data)))


def report(images: int, outcomes: Outcomes, seconds: float) -> str:
    """Returns the figures as text."""
    lines = [
        f"{images} files in {seconds:.0f} s, {outcomes.wrong} answered wrongly",
        f"in this process: {_counts(outcomes.here)}",
        f"by the server: {_counts(outcomes.server)}",
    ]
    for name, at in (("this process", 0), ("server", 1)):
        for done, held in outcomes.held.items():
            each = held[at]
            lines.append(
                f"{name} after {done}: {each.processes} processes, {each.zombies} zombies, "
                f"{each.descriptors} descriptors, {each.threads} threads, "
                f"{each.resident_mb:.0f} MB resident"
            )
    return "\n".join(lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


if __name__ == "__main__":
    typer.run(main)
