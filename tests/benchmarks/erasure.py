"""Measures what it costs to erase deleted studies from the files of an embedded library.

`python -m tests.benchmarks.erasure` builds a library of 100,000 studies in a temporary folder and
deletes three patients: one with a single study, one with 100, one with 10,000, spread over all of
it. After each it erases, while another thread searches without pause. A study has an image
(float32[512], random) and a report with words of its own. It prints one row of JSON per patient:

    studies         that the patient had
    delete_s        seconds of the deletion, which is durable at its end
    erase_s         seconds of the erasure
    written_mb      megabytes that the erasure wrote
    longest_gap_ms  longest time between the answers of two searches, then without an erasure
    left            files that still hold a word or a vector of ten of the patient's studies
"""

import json
import mmap
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from service.cases.edge import EdgeStore
from service.cases.schema import NOBODY, CaseFilter, EmbeddedStudy, Identity, Image, Search, Study

DIMENSION, WRITTEN, LOOKED_FOR = 512, 500, 10
IDENTITY = Identity("b" * 64, "k" * 16, DIMENSION)
Vectors = npt.NDArray[np.float32]


def measure(
    studies: Annotated[int, typer.Option(min=100)] = 100_000,
    deleted: Annotated[list[int] | None, typer.Option(help="Instead of 1, 100 and 10000")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the library is made")] = None,
) -> None:
    """Builds a library, deletes patients of different sizes, and prints the cost of each."""
    rng = np.random.default_rng(0)
    sizes = deleted or [1, 100, 10_000]
    patients = np.full(studies, -1)
    patients[rng.permutation(studies)[: sum(sizes)]] = np.repeat(sizes, sizes)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch)
        store = EdgeStore(path, IDENTITY, erases=False)
        vectors, built = build(store, rng, patients)
        disk = sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
        typer.echo(json.dumps({"studies": studies, "built_s": built, "disk_mb": disk / 1e6}))
        for size in sizes:
            typer.echo(json.dumps(cost(store, path, vectors, patients, size)))
        store.close()


def build(store: EdgeStore, rng: np.random.Generator, patients: Vectors) -> tuple[Vectors, float]:
    """Fills the store. Returns the vectors and the seconds that it took."""
    vectors = rng.standard_normal((len(patients), DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    start = time.perf_counter()
    for first in range(0, len(patients), WRITTEN):
        numbers = range(first, min(first + WRITTEN, len(patients)))
        store.put([study(number, patients[number], vectors[number]) for number in numbers])
    return vectors, time.perf_counter() - start


def study(number: int, patient: int, vector: Vectors) -> EmbeddedStudy:
    """Returns a study of a patient that is named by its size; -1 is a patient of one study."""
    owner = f"pat_{patient}" if patient > 0 else f"pat_of_{number}"
    report = f"FINDINGS: {word(number)} in the left lung. IMPRESSION: Nothing else to see. " * 4
    image = Image(f"{number:064x}", "PA")
    digest = f"{number:064x}"
    facts = Study(f"stu_{number:032x}", owner, "synthetic", digest, report, images=(image,))
    return EmbeddedStudy(facts, (vector,), None, ())


def word(number: int) -> str:
    """Returns a word that only one report has."""
    return np.random.default_rng(number).bytes(12).hex()


def cost(
    store: EdgeStore, path: Path, vectors: Vectors, patients: Vectors, size: int
) -> dict[str, Any]:
    """Deletes the patient of this size and measures the erasure."""
    theirs = np.flatnonzero(patients == size)
    with searching(store, vectors[theirs[0]]) as before:
        time.sleep(2)
    start = time.perf_counter()
    store.delete_patient(f"pat_{size}")
    deleted = time.perf_counter() - start
    written, start = written_bytes(), time.perf_counter()
    with searching(store, vectors[theirs[0]]) as during:
        store.erase()
    erased = time.perf_counter() - start
    return {
        "studies": size,
        "delete_s": deleted,
        "erase_s": erased,
        "written_mb": (written_bytes() - written) / 1e6,
        "longest_gap_ms": [1000 * max(during), 1000 * max(before)],
        "left": left(path, vectors, theirs[:LOOKED_FOR]),
    }


@contextmanager
def searching(store: EdgeStore, query: Vectors) -> Iterator[list[float]]:
    """Searches until the block ends. Gives the seconds between two answers."""
    gaps, ended = list[float](), threading.Event()

    def search() -> None:
        last = time.perf_counter()
        while not ended.is_set():
            store.search(Search("image", query), k=10, where=CaseFilter(), exclude=NOBODY)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
            time.sleep(0.005)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield gaps
    finally:
        ended.set()
        thread.join()


def written_bytes() -> int:
    """Returns the bytes that this process and its ended children have written."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def left(path: Path, vectors: Vectors, theirs: npt.NDArray[np.int64]) -> list[str]:
    """Returns the files that hold a word or a vector of these studies."""
    sought = [word(number).encode() for number in theirs]
    sought += [vectors[number].tobytes() for number in theirs]
    return [file.name for file in path.rglob("*") if file.is_file() and holds(file, sought)]


def holds(file: Path, sought: list[bytes]) -> bool:
    """Tells whether the file's bytes have one of these in them."""
    if not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        return any(raw.find(each) >= 0 for each in sought)


if __name__ == "__main__":
    typer.run(measure)
