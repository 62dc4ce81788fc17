"""Measures searches by a graph under filters: recall and time, with and without ACORN.

`python -m tests.benchmarks.filters` builds a Qdrant Edge shard of 50,000 vectors (float16 and int8,
one graph) and asks for the ten nearest under filters that select a half to a hundredth. A filter of
the kind "random" selects points at random, as a view does; one "by cluster" selects whole clusters,
as a finding does, so that most queries have their neighbours outside it. The engine scans small
selections exactly (`full_scan_threshold`, in KB of vectors); the bound is lowered from 10,000 to
500, so that every selection but the last is searched by the graph, as in a library of a million. It
prints a row of JSON for each filter:

    selected  share of the points that it selects
    WAY       [median milliseconds, 99th percentile, recall@10 against numpy] of one way to search

`--payload-m 16` adds links between points of equal payload to the graph, `--scanned 10000` leaves
the engine's bound as it is, `--ef` sets the breadth.
"""

import json
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import qdrant_edge as qdrant
import typer

DIMENSION, CLUSTERS, WITHIN, WRITTEN, QUERIES, K = 512, 1000, 0.5, 500, 300, 10
SHARES = (0.9, 0.7, 0.5, 0.3, 0.1, 0.01)
KINDS = ("random", "cluster")
Vectors = npt.NDArray[np.float32]


def measure(
    points: Annotated[int, typer.Option(min=1000)] = 50_000,
    ef: int = 64,
    scanned: Annotated[int, typer.Option(help="KB of vectors that are scanned exactly")] = 500,
    payload_m: Annotated[int, typer.Option(help="Links between points of equal payload")] = 0,
) -> None:
    """Builds the shard and prints the cost and the recall of each filter."""
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((CLUSTERS, DIMENSION)))
    vectors, clusters = clustered(rng, centres, points)
    asked, _ = clustered(rng, centres, QUERIES)
    drawn = {"random": rng.random(points), "cluster": rng.random(CLUSTERS)[clusters]}
    with tempfile.TemporaryDirectory() as folder:
        shard = build(Path(folder), vectors, drawn, config(scanned, payload_m))
        scores = vectors @ asked.T
        for kind, share in [
            ("random", 1.0),
            *((kind, share) for share in SHARES for kind in KINDS),
        ]:
            selected = drawn[kind] < share
            best = best_of(scores, selected)
            row = {"filter": kind, "selected": round(float(selected.mean()), 3)}
            typer.echo(
                json.dumps(
                    row | cost(shard, asked, label(kind, share), best, ef), ensure_ascii=False
                )
            )
        shard.close()


def unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    """Returns the rows at unit length."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(
    rng: np.random.Generator, centres: Vectors, count: int
) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Returns vectors around the centres, and the number of each one's centre."""
    clusters = rng.integers(len(centres), size=count)
    noise = WITHIN * unit(rng.standard_normal((count, DIMENSION)))
    return unit(centres[clusters] + noise), clusters


def config(scanned: int, payload_m: int) -> qdrant.EdgeConfig:
    """Returns the layout of an embedded library's shard of images."""
    int8 = qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8, quantile=0.99, always_ram=True)
    params = qdrant.EdgeVectorParams(
        size=DIMENSION,
        distance=qdrant.Distance.Cosine,
        datatype=qdrant.VectorStorageDatatype.Float16,
        quantization_config=int8,
        on_disk=True,
    )
    graph = qdrant.HnswIndexConfig(
        m=16, ef_construct=100, full_scan_threshold=scanned, payload_m=payload_m or None
    )
    optimizers = qdrant.EdgeOptimizersConfig(indexing_threshold=1000, default_segment_number=1)
    return qdrant.EdgeConfig(
        vectors={"image": params}, hnsw_config=graph, on_disk_payload=True, optimizers=optimizers
    )


def build(
    folder: Path,
    vectors: Vectors,
    drawn: dict[str, npt.NDArray[np.float64]],
    layout: qdrant.EdgeConfig,
) -> qdrant.EdgeShard:
    """Returns a shard of these vectors, whose payloads list the filters that select them."""
    shard = qdrant.EdgeShard.create(str(folder), layout)
    keyword = qdrant.PayloadSchemaType.Keyword
    shard.update(qdrant.UpdateOperation.create_field_index("filters", keyword))
    for start in range(0, len(vectors), WRITTEN):
        points = [
            qdrant.Point(
                str(uuid.UUID(int=number)),
                {"image": vectors[number].tolist()},
                {"filters": [label(k, s) for k in KINDS for s in SHARES if drawn[k][number] < s]},
            )
            for number in range(start, min(start + WRITTEN, len(vectors)))
        ]
        shard.update(qdrant.UpdateOperation.upsert_points(points))
    shard.optimize()
    return shard


def label(kind: str, share: float) -> str:
    """Names a filter; that of all points is in no payload."""
    return "" if share == 1 else f"{kind} {share}"


def best_of(scores: Vectors, selected: npt.NDArray[np.bool_]) -> list[set[int]]:
    """Returns the numbers of the ten selected points nearest to each query."""
    allowed = np.where(selected[:, None], scores, -2)
    return [set(column.tolist()) for column in np.argpartition(-allowed, K, axis=0)[:K].T]


def cost(
    shard: qdrant.EdgeShard, asked: Vectors, name: str, best: list[set[int]], ef: int
) -> dict[str, list[float]]:
    """Returns the time and the recall of each way to search under one filter."""
    condition = qdrant.FieldCondition("filters", match=qdrant.MatchAny([name]))
    chosen = qdrant.Filter(must=[condition]) if name else None
    figures = {}
    for way, params in ways(ef).items():
        seconds, found = [], 0
        for query, nearest in zip(asked, best, strict=True):
            request = qdrant.QueryRequest(
                limit=K,
                query=qdrant.Query.Nearest(query.tolist(), using="image"),
                filter=chosen,
                params=params,
            )
            start = time.perf_counter()
            hits = shard.query(request)
            seconds.append(time.perf_counter() - start)
            found += len({uuid.UUID(str(hit.id)).int for hit in hits} & nearest)
        middle, slow = np.percentile(1e3 * np.array(seconds), [50, 99])
        figures[way] = [round(middle, 2), round(slow, 2), round(found / K / len(asked), 3)]
    return figures


def ways(ef: int) -> dict[str, qdrant.SearchParams]:
    """Returns the searches that are compared: the graph, with a breadth, and with ACORN."""
    rescored = qdrant.QuantizationSearchParams(rescore=True, oversampling=2.0)

    def graph(ef: int, **acorn: float) -> qdrant.SearchParams:
        beyond = qdrant.AcornSearchParams(enable=True, **acorn) if acorn else None
        return qdrant.SearchParams(hnsw_ef=ef, quantization=rescored, acorn=beyond)

    return {
        "graph": graph(ef),
        "graph, ef × 4": graph(4 * ef),
        "ACORN": graph(ef, max_selectivity=0.95),
        "ACORN, ef × 2": graph(2 * ef, max_selectivity=0.95),
        "exact": qdrant.SearchParams(exact=True),
    }


if __name__ == "__main__":
    typer.run(measure)
