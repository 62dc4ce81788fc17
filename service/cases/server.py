"""A Qdrant server or cluster, through qdrant-client."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Literal, Self

import grpc  # type: ignore[import-untyped]
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException

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
from service.errors import BundleMismatch, StoreUnavailable

_RETRY_AFTER_S = 5.0
_SEARCH = models.SearchParams(
    hnsw_ef=256, quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0)
)
_QUANTIZATION: dict[str, models.QuantizationConfig] = {
    "scalar": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, always_ram=True
        )
    ),
    "product": models.ProductQuantization(
        product=models.ProductQuantizationConfig(
            compression=models.CompressionRatio.X16, always_ram=True
        )
    ),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a server or cluster keeps a collection; decided when it is made, else its own defaults.

    written: replicas that have a write before it is acknowledged. quantization: vectors of a
    quarter or a sixteenth of the size are held in memory; what they find, the exact ones rank.
    """

    shards: int | None = None
    replicas: int | None = None
    written: int | None = None
    on_disk: bool = False
    quantization: Literal["scalar", "product"] | None = None


DEFAULTS = Layout()


def connect(url: str, *, api_key: str | None = None, timeout_s: int = 10) -> QdrantClient:
    """A client that speaks gRPC (port 6334 of the URL's host) and has not yet connected."""
    return QdrantClient(
        url=url, api_key=api_key, timeout=timeout_s, prefer_grpc=True, check_compatibility=False
    )


class ServerStore(PointStore):
    """A CaseStore in a collection of a Qdrant server, made on first use.

    The collection's metadata hold its identity. Parts are written before records, in one
    request: one that is cut short leaves no digest of a half study.

    Raises StoreUnavailable when the server does not answer, BundleMismatch when another
    bundle or hash key wrote the collection.
    """

    def __init__(
        self,
        client: QdrantClient,
        *,
        collection: str,
        dimension: int,
        bundle_id: str,
        key_fingerprint: str,
        layout: Layout = DEFAULTS,
    ) -> None:
        super().__init__(Identity(bundle_id, key_fingerprint, dimension))
        self._client = client
        self._collection = collection
        with _engine():
            self._create_if_missing(layout)
        self.check()
        with _engine():
            for key in INDEXED:
                client.create_payload_index(
                    collection, key, models.PayloadSchemaType.KEYWORD, wait=True
                )

    @classmethod
    def existing(cls, client: QdrantClient, *, collection: str) -> Self:
        """The library that is there, whoever's it is."""
        with _engine():
            there = client.collection_exists(collection)
        if not there:
            raise StoreUnavailable("The Qdrant server has no such collection.")
        stored = _read_identity(client, collection)
        return cls(
            client,
            collection=collection,
            dimension=stored.dimension,
            bundle_id=stored.bundle_id,
            key_fingerprint=stored.key_fingerprint,
        )

    def check(self) -> None:
        """Return when the server answers and the collection is still this bundle's."""
        self.identity.require(_read_identity(self._client, self._collection))

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def _create_if_missing(self, layout: Layout) -> None:
        if self._client.collection_exists(self._collection):
            return
        params = models.VectorParams(
            size=self.identity.dimension,
            distance=models.Distance.COSINE,
            on_disk=layout.on_disk or None,
        )
        quantization = _QUANTIZATION[layout.quantization] if layout.quantization else None
        try:
            self._client.create_collection(
                self._collection,
                vectors_config=dict.fromkeys(PARTS, params),
                sparse_vectors_config={
                    WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)
                },
                metadata=asdict(self.identity),
                shard_number=layout.shards,
                replication_factor=layout.replicas,
                write_consistency_factor=layout.written,
                quantization_config=quantization,
            )
        except (ApiException, grpc.RpcError):
            made_by_another_replica = self._client.collection_exists(self._collection)
            if not made_by_another_replica:
                raise

    def _write(self, operations: Sequence[Operation]) -> None:
        updates = [update for operation in operations for update in _updates(operation)]
        with _engine():
            self._client.batch_update_points(self._collection, updates, wait=True)

    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        with _engine():
            records, _ = self._client.scroll(
                self._collection,
                scroll_filter=_filter(selection),
                limit=limit,
                with_payload=fields or True,
            )
        return [record.payload or {} for record in records]

    def _page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[list[Point], str | None]:
        with _engine():
            records, further = self._client.scroll(
                self._collection,
                scroll_filter=_filter(selection),
                limit=limit,
                offset=after,
                with_payload=True,
                with_vectors=True,
            )
        points = [stored_point(str(r.id), r.payload or {}, r.vector) for r in records]
        return points, None if further is None else str(further)

    def _nearest(
        self, ask: Ask, selection: Selection, limit: int, *, above: float | None
    ) -> list[Found]:
        query, using = _query(ask, limit)
        with _engine():
            answer = self._client.query_points(
                self._collection,
                query=query,
                using=using,
                prefetch=_fused(ask, selection, limit),
                query_filter=_filter(selection),
                search_params=_SEARCH,
                limit=limit,
                score_threshold=above,
                with_payload=True,
            )
        return [Found(str(point.id), point.score, point.payload or {}) for point in answer.points]

    def _count(self, selection: Selection) -> int:
        with _engine():
            return self._client.count(
                self._collection, count_filter=_filter(selection), exact=True
            ).count

    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        with _engine():
            answer = self._client.facet(
                self._collection, key, facet_filter=_filter(selection), limit=limit, exact=True
            )
        return {str(hit.value): hit.count for hit in answer.hits}


def _read_identity(client: QdrantClient, collection: str) -> Identity:
    with _engine():
        stored = client.get_collection(collection).config.metadata
    try:
        return Identity(**(stored or {}))
    except TypeError:
        raise BundleMismatch(
            "The collection was not made by this service; choose another collection."
        ) from None


def _query(
    ask: Ask, limit: int
) -> tuple[models.Query | models.SparseVector | list[float], str | None]:
    """What is ranked by, and the named vector that it is compared with."""
    match ask:
        case Ask(target, np.ndarray() as vector, None, None):
            return vector.tolist(), target
        case Ask(target, np.ndarray() as vector, None, float(diversity)):
            mmr = models.Mmr(diversity=diversity, candidates_limit=max(limit, CANDIDATES))
            return models.NearestQuery(nearest=vector.tolist(), mmr=mmr), target
        case Ask(words=str(words), vector=None):
            return _sparse(sought_words(words)), WORDS
        case _:
            return models.RrfQuery(rrf=models.Rrf(k=RANK_OFFSET)), None


def _fused(ask: Ask, selection: Selection, limit: int) -> list[models.Prefetch]:
    """The two rankings that are fused where both are asked for."""
    if ask.vector is None or ask.words is None:
        return []
    return [
        models.Prefetch(
            query=query,
            using=using,
            filter=_filter(selection),
            params=_SEARCH,
            limit=max(limit, CANDIDATES),
        )
        for query, using in (
            _query(replace(ask, words=None), limit),
            _query(replace(ask, vector=None), limit),
        )
    ]


def _filter(selection: Selection) -> models.Filter:
    must_not = _any_of(selection.must_not)
    if selection.spared:
        must_not.append(models.HasIdCondition(has_id=list(selection.spared)))
    return models.Filter(must=_any_of(selection.must), must_not=must_not)


def _any_of(conditions: Mapping[str, Sequence[str]]) -> list[models.Condition]:
    return [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        for key, values in conditions.items()
    ]


def _updates(operation: Operation) -> list[models.UpdateOperation]:
    match operation:
        case Unsettle(selection):
            blank = models.SetPayload(payload={"digest": ""}, filter=_filter(selection))
            return [models.SetPayloadOperation(set_payload=blank)]
        case Remove(selection):
            chosen = models.FilterSelector(filter=_filter(selection))
            return [models.DeleteOperation(delete=chosen)]
        case Upsert(points):
            parts = [point for point in points if point.vector is not None]
            records = [point for point in points if point.vector is None]
            return [_upsert(group) for group in (parts, records) if group]


def _upsert(points: Sequence[Point]) -> models.UpsertOperation:
    structs = [
        models.PointStruct(id=point.id, vector=_vectors(point), payload=point.payload)
        for point in points
    ]
    return models.UpsertOperation(upsert=models.PointsList(points=structs))


def _vectors(point: Point) -> dict[str, list[float] | models.SparseVector]:
    words = {} if point.words is None else {WORDS: _sparse(point.words)}
    return {**point.vectors, **words}


def _sparse(words: Words) -> models.SparseVector:
    return models.SparseVector(indices=words.indices, values=words.values)


@contextmanager
def _engine() -> Iterator[None]:
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise StoreUnavailable(
            "The Qdrant server is over its rate limit.", retry_after_s=error.retry_after_s
        ) from error
    except (ApiException, grpc.RpcError) as error:
        raise StoreUnavailable(
            "The Qdrant server does not answer or refuses the request; check that it runs, its "
            "address and its API key.",
            retry_after_s=_RETRY_AFTER_S,
        ) from error
