"""Lays out the engine's files of an embedded library: one shard for each kind of point.

Points of one kind in a shard of their own have no empty rows for the vectors of other kinds. A
library of an earlier release has all kinds in one shard, `collection/shard`, and keeps it.
"""

import json
from dataclasses import asdict
from pathlib import Path

import qdrant_edge as qdrant

from service.cases.erasure import write_nothing_due
from service.cases.points import INDEXED, PARTS, RECORD, WORDS
from service.cases.schema import Identity
from service.cases.shard import Shard, create
from service.errors import StoreUnavailable
from service.files import written_atomically

KINDS = (RECORD, *PARTS)
"""Kinds of points, which are the names of the shards' folders."""
SCANNED = 20_000
"""Points: a smaller segment is scanned exactly, a larger one gets an HNSW graph."""
_LARGEST = 250_000
"""Points: segments are not merged beyond this. A deletion rewrites one segment, and building does
not slow down as a library grows."""
_SEGMENTS = 8
"""Segments of a shard above which the smallest are merged, so that not every build rewrites all."""
_LINKS, _BUILD_BREADTH = 16, 100
"""Links of a vector in a graph, and candidates among which they are chosen (the engine's own)."""
_FILTERED_SCAN_KB = 20_000
"""Kilobytes of vectors: where a filter leaves fewer in a segment they are scanned, which is faster
than the graph ([measured](docs/decisions/filtered-search.md))."""
_IDENTITY = "identity.json"
_EARLIER = "shard"
"""Folder of the one shard of an earlier release."""
_EARLIER_SCANNED_KB = 100_000
"""Kilobytes of a segment of an earlier release above which it gets a graph."""
_HALF, _WORD = 2, 8
"""Bytes of a stored number, float16, and of a word in a sparse vector."""


def create_collection(collection: Path, identity: Identity) -> None:
    """Makes an empty collection, which appears under its name once it is whole."""
    with written_atomically(collection) as draft:
        draft.mkdir()
        for kind in KINDS:
            create(draft / kind, _config(kind, identity.dimension), INDEXED)
        write_nothing_due(draft / "erasure.json")
        (draft / _IDENTITY).write_text(json.dumps(asdict(identity)))


def read_identity(collection: Path) -> Identity:
    """Returns what the collection belongs to. Raises StoreUnavailable."""
    try:
        return Identity(**json.loads((collection / _IDENTITY).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise StoreUnavailable(
            "The case library's identity.json is missing or damaged. Restore it from a backup, "
            "or index the studies again into an empty directory."
        ) from error


def open_shards(collection: Path, dimension: int) -> dict[str, Shard]:
    """Opens the shard of each kind; of an earlier release, the one shard that all kinds share.

    Raises StoreUnavailable where files are missing, and what the engine raises.
    """
    if (collection / _EARLIER).exists():
        return dict.fromkeys(KINDS, Shard(collection / _EARLIER, _earlier_config(dimension)))
    _require_folders(collection)
    opened: dict[str, Shard] = {}
    try:
        for kind in KINDS:
            opened[kind] = Shard(collection / kind, _config(kind, dimension))
    except BaseException:
        for shard in opened.values():
            shard.close()
        raise
    return opened


def _require_folders(collection: Path) -> None:
    for kind in KINDS:
        if not (collection / kind).is_dir():
            raise StoreUnavailable(
                f"Files of the case library are missing: it has no folder {collection.name}/{kind}."
                " Restore a backup, or index the studies again into an empty directory."
            )


def _config(kind: str, dimension: int) -> qdrant.EdgeConfig:
    """Makes one deleted point reason enough to write a segment again.

    Sizes are those of the vectors. A record's is one word (`service.cases.edge_requests`).
    """
    kilobyte_of = (_WORD if kind == RECORD else dimension * _HALF) / 1024
    return qdrant.EdgeConfig(
        vectors={} if kind == RECORD else {kind: _dense(dimension)},
        sparse_vectors={
            WORDS: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf, on_disk=True)
        },
        hnsw_config=qdrant.HnswIndexConfig(
            m=_LINKS, ef_construct=_BUILD_BREADTH, full_scan_threshold=_FILTERED_SCAN_KB
        ),
        on_disk_payload=True,
        optimizers=qdrant.EdgeOptimizersConfig(
            indexing_threshold=max(1, round(SCANNED * kilobyte_of)),
            max_segment_size=max(1, round(_LARGEST * kilobyte_of)),
            default_segment_number=_SEGMENTS,
            deleted_threshold=0.0,
            vacuum_min_vector_number=0,
        ),
    )


def _dense(dimension: int) -> qdrant.EdgeVectorParams:
    """Keeps float16 on the disk, and one byte a number, by which graphs are searched.

    Both are mapped into memory: a generation opens ten times faster so than with bytes that the
    engine reads at once, and two generations share what they have in common.
    """
    small = qdrant.ScalarQuantizationConfig(
        qdrant.ScalarType.Int8, quantile=0.99, memory=qdrant.Memory.Cold
    )
    return qdrant.EdgeVectorParams(
        size=dimension,
        distance=qdrant.Distance.Cosine,
        datatype=qdrant.VectorStorageDatatype.Float16,
        on_disk=True,
        quantization_config=small,
    )


def _earlier_config(dimension: int) -> qdrant.EdgeConfig:
    params = qdrant.EdgeVectorParams(size=dimension, distance=qdrant.Distance.Cosine)
    return qdrant.EdgeConfig(
        vectors=dict.fromkeys(PARTS, params),
        sparse_vectors={WORDS: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        optimizers=qdrant.EdgeOptimizersConfig(
            indexing_threshold=_EARLIER_SCANNED_KB,
            deleted_threshold=0.0,
            vacuum_min_vector_number=0,
        ),
    )
