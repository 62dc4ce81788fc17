"""Qdrant Edge: the case library in this process, on this disk; the default.

Layout under the library's directory:

    lock                     held by the one process that has the library open
    collection/identity.json bundle, hash key, dimension and schema version
    collection/shard/        the engine's files
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import numpy as np
import qdrant_edge as qdrant

from service.cases.points import (
    CANDIDATES,
    INDEXED,
    PARTS,
    RANK_OFFSET,
    WORDS,
    Found,
    Operation,
    Payload,
    Point,
    PointStore,
    Remove,
    Selection,
    Unsettle,
    Upsert,
    stored_point,
)
from service.cases.schema import Ask, Identity
from service.cases.words import Words, sought_words
from service.errors import StoreUnavailable

_SCANNED_KB = 100_000
"""Below this size a segment is scanned exactly; above it, an HNSW graph is built."""
_OPTIMIZE_EVERY = 20_000
"""Points written between two runs of the optimizer, which the write that is due waits for."""
_RETRY_AFTER_S = 5.0
_SEARCH = qdrant.SearchParams(hnsw_ef=256)


class EdgeStore(PointStore):
    """A CaseStore in a directory, which only one process may have open.

    Every write is flushed before it returns. A study's points are one entry of the engine's
    write-ahead log: after a crash a new study is there whole or not at all.

    Raises StoreUnavailable when another process holds the library or its files cannot be
    read, BundleMismatch when another bundle or hash key wrote it.
    """

    def __init__(self, path: Path, *, dimension: int, bundle_id: str, key_fingerprint: str) -> None:
        identity = Identity(bundle_id, key_fingerprint, dimension)
        super().__init__(identity)
        collection = path / "collection"
        path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as resources:
            resources.enter_context(_only_process(path / "lock"))
            if not collection.exists():
                _create(collection, identity)
            identity.require(_read_identity(collection))
            with _engine():
                self._shard = qdrant.EdgeShard.load(str(collection / "shard"))
                resources.callback(self._shard.close)
                info = self._shard.info()
            self._resources = resources.pop_all()
        self._unoptimized = info.points_count - info.indexed_vectors_count

    @classmethod
    def existing(cls, path: Path) -> Self:
        """The library that is there, whoever's it is."""
        if not (path / "collection").is_dir():
            raise StoreUnavailable("There is no case library at that place.")
        stored = _read_identity(path / "collection")
        return cls(
            path,
            dimension=stored.dimension,
            bundle_id=stored.bundle_id,
            key_fingerprint=stored.key_fingerprint,
        )

    def check(self) -> None:
        """Return when the engine answers, else raise StoreUnavailable."""
        with _engine():
            self._shard.info()

    def close(self) -> None:
        """Flush, and let another process open the library."""
        with self._writing:
            self._resources.close()

    def _write(self, operations: Sequence[Operation]) -> None:
        with _engine():
            for operation in operations:
                self._shard.update(_update(operation))
            self._shard.flush()
            self._unoptimized += sum(len(o.points) for o in operations if isinstance(o, Upsert))
            if self._unoptimized >= _OPTIMIZE_EVERY:
                self._shard.optimize()
                self._unoptimized = 0

    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        request = qdrant.ScrollRequest(
            limit=limit, filter=_filter(selection), with_payload=fields or True
        )
        with _engine():
            records, _ = self._shard.scroll(request)
        return [record.payload or {} for record in records]

    def _page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[list[Point], str | None]:
        request = qdrant.ScrollRequest(
            offset=after,
            limit=limit,
            filter=_filter(selection),
            with_payload=True,
            with_vector=True,
        )
        with _engine():
            records, further = self._shard.scroll(request)
        points = [stored_point(str(r.id), r.payload or {}, r.vector) for r in records]
        return points, None if further is None else str(further)

    def _nearest(
        self, ask: Ask, selection: Selection, limit: int, *, above: float | None
    ) -> list[Found]:
        request = qdrant.QueryRequest(
            limit=limit,
            prefetches=_fused(ask, selection, limit),
            query=_query(ask, limit),
            filter=_filter(selection),
            score_threshold=above,
            with_payload=True,
            params=_SEARCH,
        )
        with _engine():
            points = self._shard.query(request)
        return [Found(str(point.id), point.score, point.payload or {}) for point in points]

    def _count(self, selection: Selection) -> int:
        with _engine():
            return self._shard.count(qdrant.CountRequest(filter=_filter(selection)))

    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        request = qdrant.FacetRequest(key, limit, exact=True, filter=_filter(selection))
        with _engine():
            return {str(hit.value): hit.count for hit in self._shard.facet(request).hits}


def _query(ask: Ask, limit: int) -> "qdrant.ScoringQueryType":
    match ask:
        case Ask(target, np.ndarray() as vector, None, None):
            return qdrant.Query.Nearest(vector.tolist(), using=target)
        case Ask(target, np.ndarray() as vector, None, float(diversity)):
            near = 1 - diversity
            return qdrant.Mmr(vector.tolist(), near, max(limit, CANDIDATES), using=target)
        case Ask(words=str(words), vector=None):
            return qdrant.Query.Nearest(_sparse(sought_words(words)), using=WORDS)
        case _:
            return qdrant.Fusion.Rrf(RANK_OFFSET)  # type: ignore[return-value] # as it is documented


def _fused(ask: Ask, selection: Selection, limit: int) -> list[qdrant.Prefetch]:
    """The two rankings that are fused where both are asked for."""
    if ask.vector is None or ask.words is None:
        return []
    deep = max(limit, CANDIDATES)
    return [
        qdrant.Prefetch(deep, query=_query(one, limit), filter=_filter(selection), params=_SEARCH)
        for one in (replace(ask, words=None), replace(ask, vector=None))
    ]


def _filter(selection: Selection) -> qdrant.Filter:
    must_not = _any_of(selection.must_not)
    if selection.spared:
        must_not.append(qdrant.HasIdCondition(set(selection.spared)))
    return qdrant.Filter(must=_any_of(selection.must), must_not=must_not)


def _any_of(conditions: Mapping[str, Sequence[str]]) -> "list[qdrant.ConditionType]":
    return [
        qdrant.FieldCondition(key, match=qdrant.MatchAny(list(values)))
        for key, values in conditions.items()
    ]


def _update(operation: Operation) -> qdrant.UpdateOperation:
    update = qdrant.UpdateOperation
    match operation:
        case Unsettle(selection):
            return update.set_payload_by_filter(_filter(selection), {"digest": ""})
        case Remove(selection):
            return update.delete_points_by_filter(_filter(selection))
        case Upsert(points):
            return update.upsert_points(
                [qdrant.Point(point.id, _vectors(point), point.payload) for point in points]
            )


def _vectors(point: Point) -> "dict[str, qdrant.NamedVector]":
    words = {} if point.words is None else {WORDS: _sparse(point.words)}
    return {**point.vectors, **words}


def _sparse(words: Words) -> qdrant.SparseVector:
    return qdrant.SparseVector(words.indices, words.values)


def _create(collection: Path, identity: Identity) -> None:
    """Make an empty collection; it appears under its name only when it is whole."""
    draft = collection.with_name("draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    _create_shard(draft / "shard", identity.dimension)
    (draft / "identity.json").write_text(json.dumps(asdict(identity)))
    _sync(draft / "identity.json")
    _sync(draft)
    draft.rename(collection)
    _sync(collection.parent)


def _create_shard(path: Path, dimension: int) -> None:
    params = qdrant.EdgeVectorParams(size=dimension, distance=qdrant.Distance.Cosine)
    config = qdrant.EdgeConfig(
        vectors=dict.fromkeys(PARTS, params),
        sparse_vectors={WORDS: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        optimizers=qdrant.EdgeOptimizersConfig(indexing_threshold=_SCANNED_KB),
    )
    keyword = qdrant.PayloadSchemaType.Keyword
    with _engine():
        shard = qdrant.EdgeShard.create(str(path), config)
        for key in INDEXED:
            shard.update(qdrant.UpdateOperation.create_field_index(key, keyword))
        shard.flush()
        shard.close()


def _read_identity(collection: Path) -> Identity:
    try:
        return Identity(**json.loads((collection / "identity.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise StoreUnavailable(
            "The case library's identity.json is missing or damaged; restore it from a backup "
            "or index the studies again into an empty directory."
        ) from error


@contextmanager
def _only_process(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(
                "Another process has this case library open; stop that server, or use its API."
            ) from None
        yield


@contextmanager
def _engine() -> Iterator[None]:
    """Qdrant Edge raises nothing more precise than Exception."""
    try:
        yield
    except Exception as error:
        raise StoreUnavailable(
            "The case library's engine failed. Check the disk's space and the directory's "
            "permissions, then start the server again.",
            retry_after_s=_RETRY_AFTER_S,
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
