"""Measures the layouts of an embedded library: one shard for each kind of point, or one for all.

Each study has an image and a report, with vectors around a thousand centres. The library of the
earlier layout is then copied into one of the new layout, as `eclip copy` does.

    python -m tests.benchmarks.layout --studies 20000
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qdrant

from service.cases import layout
from service.cases.edge import EdgeStore
from service.cases.points import INDEXED
from service.cases.schema import (
    EVERYTHING,
    NOBODY,
    EmbeddedStudy,
    Identity,
    Image,
    Search,
    Study,
    Vector,
)
from service.imaging.deidentify import PatientRef, StudyRef

DIMENSION = 512
IDENTITY = Identity("b" * 64, "k" * 16, DIMENSION)
BATCH = 16
SEARCHES = 300
K = 10


def main() -> None:
    """Writes a line of figures for each layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args()
    vectors = clustered(2 * asked.studies)
    with tempfile.TemporaryDirectory(dir=asked.directory) as folder:
        earlier, new, copied = (Path(folder) / name for name in ("earlier", "new", "copied"))
        make_earlier(earlier)
        for path in (earlier, new):
            sys.stdout.write(json.dumps({"layout": path.name, **measured(path, vectors)}) + "\n")
        sys.stdout.write(
            json.dumps({"layout": copied.name, **measured_copy(earlier, copied)}) + "\n"
        )


def clustered(count: int) -> Vector:
    """Returns unit vectors, float32[count, DIMENSION], near a thousand centres."""
    rng = np.random.default_rng(0)
    centres = _unit(rng.standard_normal((1000, DIMENSION)))
    noise = _unit(rng.standard_normal((count, DIMENSION)))
    return _unit(centres[rng.integers(1000, size=count)] + 0.5 * noise)


def make_earlier(path: Path) -> None:
    """Makes an empty library as an earlier release did: one shard of three named vectors."""
    collection = path / "collection"
    collection.mkdir(parents=True)
    config = layout._earlier_config(DIMENSION)
    engine = qdrant.EdgeShard.create(str(collection / "shard"), config)
    for key in INDEXED:
        keyword = qdrant.PayloadSchemaType.Keyword
        engine.update(qdrant.UpdateOperation.create_field_index(key, keyword))
    engine.flush()
    engine.close()
    (collection / "identity.json").write_text(json.dumps(asdict(IDENTITY)))


def measured(path: Path, vectors: Vector) -> dict[str, Any]:
    """Writes a library, builds its graphs and searches it."""
    begun = time.perf_counter()
    store = EdgeStore(path, IDENTITY, erases=False, bulk=True)
    for batch in _batches(studies(vectors)):
        store.put(batch)
    written = time.perf_counter() - begun
    store.build_graphs()
    built = time.perf_counter() - begun - written
    images = vectors[::2]
    queries = clustered(len(vectors) + SEARCHES)[-SEARCHES:]
    seconds, found = list[float](), 0
    for query in queries:
        started = time.perf_counter()
        hits = store.search(Search("image", query), k=K, where=EVERYTHING, exclude=NOBODY)
        seconds.append(time.perf_counter() - started)
        nearest = np.argpartition(-(images @ query), K)[:K]
        found += len({int(hit.study_id) for hit in hits} & set(nearest.tolist()))
    store.close()
    return {
        "written_s": round(written, 1),
        "graphs_s": round(built, 1),
        "kb_a_study": round(_disk(path) / len(images) / 1024, 1),
        "p50_ms": round(1e3 * float(np.median(seconds)), 2),
        "p99_ms": round(1e3 * float(np.percentile(seconds, 99)), 2),
        "recall": round(found / SEARCHES / K, 4),
    }


def measured_copy(source: Path, target: Path) -> dict[str, Any]:
    """Copies a library's studies with their vectors into an empty one."""
    begun = time.perf_counter()
    store = EdgeStore(target, IDENTITY, erases=False, bulk=True)
    earlier = EdgeStore.existing(source)
    for batch in _batches(earlier.studies()):
        store.put(batch)
    copied = time.perf_counter() - begun
    store.build_graphs()
    built = time.perf_counter() - begun - copied
    count = store.count()
    store.close()
    earlier.close()
    return {"studies": count, "copied_s": round(copied, 1), "graphs_s": round(built, 1)}


def studies(vectors: Vector) -> Iterator[EmbeddedStudy]:
    """Yields a study for each two vectors: its image's and its report's."""
    for number in range(len(vectors) // 2):
        study = Study(
            study_id=StudyRef(f"{number:064d}"),
            patient_id=PatientRef(f"{number // 2:064x}"),
            source="synthetic",
            digest=f"digest {number}",
            report=f"Finding {number % 10} in the left lung. No effusion.",
            images=(Image(f"{number:064x}", ("PA", "AP", "LL")[number % 3]),),
            findings=(f"finding {number % 10}",),
        )
        yield EmbeddedStudy(study, (vectors[2 * number],), vectors[2 * number + 1], ())


def _batches(every: Iterator[EmbeddedStudy]) -> Iterator[list[EmbeddedStudy]]:
    batch: list[EmbeddedStudy] = []
    for each in every:
        batch.append(each)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _unit(vectors: np.ndarray[Any, Any]) -> Vector:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _disk(path: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
