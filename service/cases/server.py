"""Keeps a case library in a collection of a Qdrant server or cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Self

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException

from service.cases.base import CaseStore
from service.cases.engine import engine_errors
from service.cases.operations import Operation, Selection
from service.cases.points import (
    INDEXED,
    Payload,
    Point,
    ScoredPoint,
    dense,
    stored_point,
)
from service.cases.reading import each_page
from service.cases.schema import Identity, Part, Search
from service.cases.server_layout import SERVER_DEFAULTS, CollectionLayout
from service.cases.server_requests import (
    points_filter,
    ranking,
    search_params,
    update_operations,
)
from service.cases.writing import WriteLock
from service.errors import BundleMismatch, StoreUnavailable


def connect(
    url: str, *, api_key: str | None = None, timeout_s: int = 10, grpc_port: int = 6334
) -> QdrantClient:
    """Returns a client that speaks gRPC (to that port of the URL's host) and has not connected yet.

    It asks that host directly: it uses no proxy of the environment and follows no redirect.
    """
    return QdrantClient(
        url=url,
        grpc_port=grpc_port,
        api_key=api_key,
        timeout=timeout_s,
        prefer_grpc=True,
        check_compatibility=False,
        grpc_options={"grpc.enable_http_proxy": 0},
        trust_env=False,
        follow_redirects=False,
    )


class ServerStore(CaseStore):
    """A case store in a collection of a Qdrant server, made on first use.

    The collection's metadata holds its identity. Parts are written before records, in one request:
    a request that is cut short leaves no digest of a half study.

    Raises StoreUnavailable if the server does not answer.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        identity: Identity,
        layout: CollectionLayout = SERVER_DEFAULTS,
    ) -> None:
        super().__init__(identity, WriteLock())
        self._client = client
        self._collection = collection
        with server_engine():
            self._create_if_missing(layout)
        self.check()
        with server_engine():
            for key in INDEXED:
                client.create_payload_index(
                    collection, key, models.PayloadSchemaType.KEYWORD, wait=True
                )

    @classmethod
    def existing(cls, client: QdrantClient, collection: str) -> Self:
        """Opens a collection that exists, of any bundle and key.

        Raises StoreUnavailable if there is none, SchemaMismatch if its version cannot be read.
        """
        with server_engine():
            exists = client.collection_exists(collection)
        if not exists:
            raise StoreUnavailable(
                "The Qdrant server has no collection of that name. Check the name and "
                "ECLIP_QDRANT_URL."
            )
        stored = _read_identity(client, collection)
        stored.require_readable()
        return cls(client, collection, stored)

    def check(self) -> None:
        """Raises StoreUnavailable if the server does not answer.

        Raises BundleMismatch or SchemaMismatch if the collection was exchanged.
        """
        self.identity.require(_read_identity(self._client, self._collection))

    def close(self) -> None:
        """Closes the client's connections."""
        self._client.close()

    def _create_if_missing(self, layout: CollectionLayout) -> None:
        if self._client.collection_exists(self._collection):
            return
        try:
            self._client.create_collection(self._collection, **layout.creation(self.identity))
        except (ApiException, grpc.RpcError):
            made_by_another_replica = self._client.collection_exists(self._collection)
            if not made_by_another_replica:
                raise

    def _write(self, operations: Sequence[Operation]) -> None:
        updates = [update for operation in operations for update in update_operations(operation)]
        with server_engine():
            self._client.batch_update_points(self._collection, updates, wait=True)

    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        with server_engine():
            records, _ = self._client.scroll(
                self._collection,
                scroll_filter=points_filter(selection),
                limit=limit,
                with_payload=fields or True,
            )
        return [record.payload or {} for record in records]

    def _pages(
        self,
        selection: Selection,
        limit: int,
        start: str | None = None,
        *,
        bare: bool = False,
    ) -> Iterator[list[Point]]:
        return each_page(partial(self._page, selection, limit, bare=bare), start)

    def _page(
        self, selection: Selection, limit: int, start: str | None, *, bare: bool
    ) -> tuple[list[Point], str | None]:
        with server_engine():
            records, further = self._client.scroll(
                self._collection,
                scroll_filter=points_filter(selection),
                limit=limit,
                offset=start,
                with_payload=not bare,
                with_vectors=not bare,
            )
        points = [stored_point(str(r.id), r.payload or {}, r.vector) for r in records]
        return points, None if further is None else str(further)

    def _nearest(
        self, search: Search, selection: Selection, limit: int, *, above: float | None
    ) -> list[ScoredPoint]:
        query, using = ranking(search)
        with server_engine():
            answer = self._client.query_points(
                self._collection,
                query=query,
                using=using,
                query_filter=points_filter(selection),
                search_params=search_params(search),
                limit=limit,
                score_threshold=above,
                with_payload=False,
                with_vectors=search.diversity is not None,
            )
        return [
            ScoredPoint(str(p.id), p.score, dense(p.vector, search.target)) for p in answer.points
        ]

    def _payloads(
        self, _: str, ids: Sequence[str], *, fields: list[str] | None = None
    ) -> dict[str, Payload]:
        with server_engine():
            records = self._client.retrieve(self._collection, ids, with_payload=fields or True)
        return {str(record.id): record.payload or {} for record in records}

    def in_graphs(self, part: Part) -> int:
        """Returns how many vectors of a kind lie in graphs, at most; 0 while graphs are built."""
        with server_engine():
            collection = self._client.get_collection(self._collection)
        if collection.status != models.CollectionStatus.GREEN:
            return 0
        words = self.count_parts("report") + self.count_parts("passage")  # always indexed
        vectors = (collection.indexed_vectors_count or 0) - words
        return max(0, min(vectors, self.count_parts(part)))

    def _count(self, selection: Selection) -> int:
        with server_engine():
            return self._client.count(
                self._collection, count_filter=points_filter(selection), exact=True
            ).count

    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        with server_engine():
            answer = self._client.facet(
                self._collection,
                key,
                facet_filter=points_filter(selection),
                limit=limit,
                exact=True,
            )
        return {str(hit.value): hit.count for hit in answer.hits}


def _read_identity(client: QdrantClient, collection: str) -> Identity:
    with server_engine():
        stored = client.get_collection(collection).config.metadata
    try:
        return Identity(**(stored or {}))
    except TypeError:
        raise BundleMismatch(
            "Another program made this collection. Set ECLIP_COLLECTION to another name."
        ) from None


@contextmanager
def server_engine() -> Iterator[None]:
    """Turns what a Qdrant server or its client raises into StoreUnavailable or StoreFull."""
    with engine_errors(
        (ApiException, grpc.RpcError),
        "The Qdrant server does not answer or refuses the request. Check that it runs, "
        "ECLIP_QDRANT_URL and ECLIP_QDRANT_API_KEY.",
    ):
        try:
            yield
        except ResourceExhaustedResponse as error:
            raise StoreUnavailable(
                "The Qdrant server is over its rate limit. Try again later.",
                retry_after_s=error.retry_after_s,
            ) from error
