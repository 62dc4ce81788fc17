"""Asks the shards of an embedded library, each for its kind of points."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import qdrant_edge as qdrant

from service.cases.base import CaseStore
from service.cases.edge_requests import filter_of, params_of, query_of
from service.cases.engine import engine_errors
from service.cases.operations import Selection
from service.cases.points import Payload, Point, ScoredPoint, dense, stored_point
from service.cases.reading import each_page
from service.cases.schema import Part, Search
from service.cases.shard import Shard
from service.cases.shards import Shards


class EdgeReader(CaseStore):
    """What is asked of a case store in a directory, once its shards are open."""

    _shards: Shards

    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        request = qdrant.ScrollRequest(
            limit=limit, filter=filter_of(selection), with_payload=fields or True
        )
        with edge_engine(), self._one(selection).use() as shard:
            records, _ = shard.scroll(request)
        return [record.payload or {} for record in records]

    def _pages(
        self,
        selection: Selection,
        limit: int,
        start: str | None = None,
        *,
        bare: bool = False,
    ) -> Iterator[list[Point]]:
        """Yields the pages of each shard, that of the records first."""
        for shard in self._shards.of(selection):
            page_from = partial(self._page, shard, selection, limit, bare=bare)
            yield from each_page(page_from, start)

    def _page(
        self, shard: Shard, selection: Selection, limit: int, start: str | None, *, bare: bool
    ) -> tuple[list[Point], str | None]:
        request = qdrant.ScrollRequest(
            offset=start,
            limit=limit,
            filter=filter_of(selection),
            with_payload=not bare,
            with_vector=not bare,
        )
        with edge_engine(), shard.use() as opened:
            records, further = opened.scroll(request)
        points = [stored_point(str(r.id), r.payload or {}, r.vector) for r in records]
        return points, None if further is None else str(further)

    def _nearest(
        self, search: Search, selection: Selection, limit: int, *, above: float | None
    ) -> list[ScoredPoint]:
        request = qdrant.QueryRequest(
            limit=limit,
            query=query_of(search),
            filter=filter_of(selection),
            score_threshold=above,
            with_vector=search.diversity is not None,
            params=params_of(search),
        )
        with edge_engine(), self._shards[search.target].use() as shard:
            points = shard.query(request)
        return [ScoredPoint(str(p.id), p.score, dense(p.vector, search.target)) for p in points]

    def _payloads(
        self, kind: str, ids: Sequence[str], *, fields: list[str] | None = None
    ) -> dict[str, Payload]:
        with edge_engine(), self._shards[kind].use() as shard:
            records = shard.retrieve(list(ids), with_payload=fields or True, with_vector=False)
        return {str(record.id): record.payload or {} for record in records}

    def in_graphs(self, part: Part) -> int:
        """Returns how many vectors of a kind lie in graphs, at most; the rest is scanned."""
        return max(0, self.count_parts(part) - self._shards[part].unindexed)

    def _count(self, selection: Selection) -> int:
        request = qdrant.CountRequest(filter=filter_of(selection))
        count = 0
        for each in self._shards.of(selection):
            with edge_engine(), each.use() as shard:
                count += shard.count(request)
        return count

    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        request = qdrant.FacetRequest(key, limit, exact=True, filter=filter_of(selection))
        with edge_engine(), self._one(selection).use() as shard:
            return {str(hit.value): hit.count for hit in shard.facet(request).hits}

    def _one(self, selection: Selection) -> Shard:
        """Returns the one shard that holds the selected points, all of a kind."""
        (shard,) = self._shards.of(selection)
        return shard


def edge_engine() -> AbstractContextManager[None]:
    """Turns what the embedded engine raises into StoreUnavailable or StoreFull."""
    return engine_errors(
        Exception,
        "The case library's engine failed. Check the disk's space and the directory's "
        "permissions, then start the server again.",
    )
