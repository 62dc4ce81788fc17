"""A small engine shard, and a program that changes and rewrites one until it is killed."""

import os
import random
import sys
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as qdrant

from service.cases.shard import Shard

DIMENSION = 16
update = qdrant.UpdateOperation


def config(*, on_disk: bool = True) -> qdrant.EdgeConfig:
    """Segments of a few hundred points get a graph."""
    int8 = qdrant.ScalarQuantizationConfig(
        qdrant.ScalarType.Int8, quantile=0.99, memory=qdrant.Memory.Cold
    )
    params = qdrant.EdgeVectorParams(
        size=DIMENSION,
        distance=qdrant.Distance.Cosine,
        datatype=qdrant.VectorStorageDatatype.Float16 if on_disk else None,
        on_disk=on_disk,
        quantization_config=int8 if on_disk else None,
    )
    words = qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf, on_disk=on_disk)
    return qdrant.EdgeConfig(
        vectors={"image": params},
        sparse_vectors={"words": words},
        on_disk_payload=on_disk,
        hnsw_config=qdrant.HnswIndexConfig(16, 100, 10_000),
        optimizers=qdrant.EdgeOptimizersConfig(
            indexing_threshold=1, deleted_threshold=0.0, vacuum_min_vector_number=0
        ),
    )


def ids(numbers: Iterable[int]) -> list[Any]:
    return [str(uuid.UUID(int=number + 1)) for number in numbers]


def vector(number: int) -> list[float]:
    values = np.random.default_rng(number).standard_normal(DIMENSION)
    return list((values / np.linalg.norm(values)).tolist())


def point(number: int, value: int, payload: dict[str, Any] | None = None) -> Any:
    words = qdrant.SparseVector([number % 7, 10 + value], [1.0, 2.0])
    payload = payload or {"v": value, "text": f"{number} {value} " * 9}
    return qdrant.Point(ids([number])[0], {"image": vector(number), "words": words}, payload)


def query(number: int) -> Any:
    return qdrant.Query.Nearest(vector(number), using="image")


def payloads(engine: qdrant.EdgeShard) -> dict[int, int]:
    """Returns the value of each point by its number."""
    records, _ = engine.scroll(qdrant.ScrollRequest(limit=10_000, with_payload=True))
    return {uuid.UUID(str(each.id)).int - 1: (each.payload or {})["v"] for each in records}


def stored(opened: Shard) -> dict[int, int]:
    with opened.use() as engine:
        return payloads(engine)


def vector_of(opened: Shard, number: int) -> Any:
    with opened.use() as engine:
        found = engine.retrieve(ids([number]), with_payload=False, with_vector=True)
    vectors: Any = found[0].vector
    return vectors["image"]


def change(values: dict[int, int], number: int) -> Any:
    """Applies the update of this number to a dictionary, and returns it for the engine."""
    chance = random.Random(number)
    some = chance.sample(range(400), chance.randint(1, 40))
    match chance.randint(0, 3):
        case 0:
            for each in some:
                values.pop(each, None)
            return update.delete_points(ids(some))
        case 1:
            values.update((each, number) for each in some if each in values)
            sought = qdrant.Filter(must=[qdrant.HasIdCondition({*ids(some)})])
            return update.set_payload_by_filter(sought, {"v": number})
        case _:
            values.update((each, number) for each in some)
            return update.upsert_points([point(each, number) for each in some])


def _rewrite(opened: Shard) -> None:
    try:
        while True:
            opened.rewrite()
    except BaseException:
        os.write(1, b"E")
        raise


def main(folder: Path, first: int) -> None:
    """Writes and rewrites, and writes a dot for each update that is durable."""
    opened = Shard(folder)
    threading.Thread(target=_rewrite, args=[opened], daemon=True).start()
    while True:
        opened.update(change({}, first))
        opened.sync_log()
        os.write(1, b".")
        first += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
