"""Measures how building, searching, memory and disk of a case library grow, compared with FAISS.

`python -m tests.benchmarks.library` builds an embedded library for each size, in a process of its
own. A study has one image (float32[512]), a source, a view and a finding. The library is asked for
the ten images nearest to new vectors: of all studies, of one finding (a tenth) and of one view
(half). FAISS's HNSW, with the same links and search depth, and an exact scan in numpy are measured
in the same run. Vectors are synthetic and clustered as embeddings of radiographs are: a thousand
clusters, two vectors of one cluster at a cosine of about .8. Figures go to library.json and
library.png in this folder. It needs `pip install faiss-cpu`.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import faiss
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import psutil
import typer

from service.cases.edge import EdgeStore
from service.cases.schema import (
    NOBODY,
    CaseFilter,
    EmbeddedStudy,
    Identity,
    Image,
    Search,
    Study,
)

DIMENSION, CLUSTERS, WITHIN = 512, 1000, 0.5
SIZES = (10_000, 30_000, 100_000, 300_000)
WRITTEN, QUERIES, K = 500, 300, 10
LINKS, BUILD_DEPTH, DEPTH = 16, 100, 256
FINDINGS = tuple(f"finding {number}" for number in range(10))
VIEWS = ("PA", "AP")
FILTERS = {
    "all": CaseFilter(),
    "a finding": CaseFilter(findings=FINDINGS[:1]),
    "a view": CaseFilter(view=VIEWS[:1]),
}
Vectors = npt.NDArray[np.float32]
Finder = Callable[[npt.NDArray[np.float32]], list[int]]

app = typer.Typer(add_completion=False)


@app.command()
def grow(
    out: Annotated[Path, typer.Option()] = Path(__file__).parent,
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Instead of the four")] = None,
) -> None:
    """Measures every size and draws the figures."""
    rows = []
    for size in sizes or SIZES:
        command = [sys.executable, "-m", "tests.benchmarks.library", "one", str(size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        typer.echo(json.dumps(rows[-1]))
        (out / "library.json").write_text(json.dumps(rows, indent=1) + "\n")
    draw(rows, out / "library.png")


@app.command()
def one(size: int) -> None:
    """Measures one size and prints it as JSON."""
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((CLUSTERS, DIMENSION)))
    vectors, asked = clustered(rng, centres, size), clustered(rng, centres, QUERIES)
    typer.echo(
        json.dumps(
            {
                "size": size,
                "edge": of_edge(vectors, asked),
                "faiss": of_faiss(vectors, asked),
                "numpy": timed(lambda query: exact(vectors, query), asked),
            }
        )
    )


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Returns the rows scaled to unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(rng: np.random.Generator, centres: Vectors, count: int) -> Vectors:
    """Returns unit vectors: each a random centre plus noise of length `WITHIN`."""
    noise = unit(rng.standard_normal((count, DIMENSION)))
    return unit(centres[rng.integers(CLUSTERS, size=count)] + WITHIN * noise)


def of_edge(vectors: Vectors, asked: Vectors) -> dict[str, Any]:
    """Measures Edge: build rate, memory and disk, then latency and recall of each filter."""
    process, index = psutil.Process(), {study_id(n): n for n in range(len(vectors))}
    before = process.memory_info().rss
    with tempfile.TemporaryDirectory() as scratch:
        path, identity = Path(scratch), Identity("b" * 64, "k" * 16, DIMENSION)
        start = time.perf_counter()
        store = EdgeStore(path, identity)
        for first in range(0, len(vectors), WRITTEN):
            store.put(list(studies(vectors[first : first + WRITTEN], first)))
        store.close()
        built = time.perf_counter() - start
        store = EdgeStore(path, identity)
        found = {
            name: timed(lambda query, where=where: near(store, query, where, index), asked)
            | {"recall": recall(vectors, asked, where, store, index)}
            for name, where in FILTERS.items()
        }
        store.close()
        disk = sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
    return {
        "studies_per_s": len(vectors) / built,
        "rss_mb": (process.memory_info().rss - before) / 2**20,
        "disk_bytes_per_study": disk / len(vectors),
        **found,
    }


def studies(vectors: Vectors, first: int) -> Iterator[EmbeddedStudy]:
    """Yields studies numbered from `first`; findings and views take turns."""
    for number, vector in enumerate(vectors, start=first):
        yield EmbeddedStudy(
            Study(
                study_id=study_id(number),
                patient_id=f"pat_{number // 2:032x}",
                source="synthetic",
                digest=f"{number:064x}",
                images=(Image(f"{number:064x}", VIEWS[number % 2]),),
                findings=(FINDINGS[number % len(FINDINGS)],),
            ),
            (vector,),
            None,
            (),
        )


def study_id(number: int) -> str:
    """Returns an id as long as a keyed hash."""
    return f"stu_{number:032x}"


def near(store: EdgeStore, query: Vectors, where: CaseFilter, index: dict[str, int]) -> list[int]:
    """The numbers of the ten images that a search finds."""
    hits = store.search(Search("image", query), k=K, where=where, exclude=NOBODY)
    return [index[hit.study_id] for hit in hits]


def recall(
    vectors: Vectors, asked: Vectors, where: CaseFilter, store: EdgeStore, index: dict[str, int]
) -> float:
    """Returns the share of the ten truly nearest images that a search finds."""
    numbers = np.arange(len(vectors))
    admitted = np.ones(len(vectors), bool)
    if where.findings:
        admitted &= numbers % len(FINDINGS) == 0
    if where.view:
        admitted &= numbers % len(VIEWS) == 0
    numbers, vectors = numbers[admitted], vectors[admitted]
    hits = [
        len({*numbers[exact(vectors, query)]} & {*near(store, query, where, index)}) / K
        for query in asked
    ]
    return float(np.mean(hits))


def exact(vectors: Vectors, query: Vectors) -> list[int]:
    """Returns the ten nearest by a scan of all vectors."""
    scores = vectors @ query
    return np.argpartition(-scores, K)[:K].tolist()


def of_faiss(vectors: Vectors, asked: Vectors) -> dict[str, Any]:
    """Measures FAISS, which holds vectors and links alone: no payload, no filter, no file."""
    before = psutil.Process().memory_info().rss
    index = faiss.IndexHNSWFlat(DIMENSION, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_DEPTH
    start = time.perf_counter()
    index.add(vectors)
    built = time.perf_counter() - start
    index.hnsw.efSearch = DEPTH
    faiss.omp_set_num_threads(1)

    def search(query: Vectors) -> list[int]:
        return index.search(query[None], K)[1][0].tolist()

    hits = [len({*exact(vectors, query)} & {*search(query)}) / K for query in asked]
    return {
        "studies_per_s": len(vectors) / built,
        "rss_mb": (psutil.Process().memory_info().rss - before) / 2**20,
        "all": timed(search, asked) | {"recall": float(np.mean(hits))},
    }


def timed(search: Finder, asked: Vectors) -> dict[str, float]:
    """Milliseconds of one search at a time."""
    taken = []
    for query in asked:
        start = time.perf_counter()
        search(query)
        taken.append(1000 * (time.perf_counter() - start))
    return {"p50_ms": float(np.median(taken)), "p99_ms": float(np.percentile(taken, 99))}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws latency, build rate, memory and disk over the number of studies."""
    sizes = [row["size"] for row in rows]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for name in FILTERS:
        axes[0].plot(
            sizes, [row["edge"][name]["p50_ms"] for row in rows], "o-", label=f"Edge, {name}"
        )
    axes[0].plot(sizes, [row["faiss"]["all"]["p50_ms"] for row in rows], "s--", label="FAISS HNSW")
    axes[0].plot(sizes, [row["numpy"]["p50_ms"] for row in rows], "^:", label="numpy, exact")
    axes[0].set(title="p50 of a search, ms", yscale="log")
    for engine, style in (("edge", "o-"), ("faiss", "s--")):
        axes[1].plot(sizes, [row[engine]["studies_per_s"] for row in rows], style, label=engine)
        axes[2].plot(sizes, [row[engine]["rss_mb"] for row in rows], style, label=f"{engine}, RSS")
    axes[1].set(title="built, studies a second", yscale="log")
    disk = [row["edge"]["disk_bytes_per_study"] * row["size"] / 2**20 for row in rows]
    axes[2].plot(sizes, disk, "o:", label="edge, disk")
    axes[2].set(title="MB", yscale="log")
    for axis in axes:
        axis.set(xscale="log", xlabel="studies")
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    app()
