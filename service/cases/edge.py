"""Keeps a case library in this process, on this disk, with Qdrant Edge (the default).

Files in the library's directory:

    lock                     held by the one process that has the library open
    turn, writing            held while a process writes or copies these files (`writing.py`)
    ballast                  given up on a full disk (service.disk)
    collection/identity.json bundle, hash key, dimension and schema version
    collection/erasure.json  since when deleted content waits to be erased
    collection/shard/        the engine's files
"""

import fcntl
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import qdrant_edge as qdrant

from service.cases.base import CaseStore
from service.cases.edge_requests import filter_of, params_of, query_of, update_of
from service.cases.engine import engine_errors
from service.cases.erasure import ERASED_WITHIN_S, Erasure, write_nothing_due
from service.cases.operations import Operation, Remove, Selection, Upsert
from service.cases.points import (
    Payload,
    Point,
    ScoredPoint,
    dense,
    stored_point,
)
from service.cases.room import Room
from service.cases.schema import Identity, Search
from service.cases.shard import Shard, create
from service.cases.writing import WriteLock
from service.errors import StoreFull, StoreUnavailable
from service.files import disk_errors, make_folder, probe, remove_drafts, written_atomically
from service.telemetry import log

_OPTIMIZE_EVERY = 20_000
"""Points written between two runs of the optimizer. The write that reaches it waits for it."""
_FLUSH_EVERY_S = 10.0
"""Seconds between two flushes of all files in bulk work. Opening after a kill repeats what was
written since. A flush takes 0.3 s, in which no other thread of Python runs."""


class EdgeStore(CaseStore):
    """A case store in a directory, which only one process may have open.

    Every write is flushed before it returns. A study's points are one entry of the engine's
    write-ahead log: after a crash a new study is there whole or not at all. What is deleted or
    replaced is erased from the files soon after, and before the store is closed.

    On a full disk the library opens, is read, and studies are deleted.

    reserve: bytes that are kept on the disk; see `service.disk.Reserve`. erases: whether what is
    due is erased; otherwise it stays due. bulk: whether new studies are flushed in the log alone at
    first, for work that can be done again: the engine may not open a library of which a power cut
    left some files old and others new. Raises StoreUnavailable if another process has the library
    open or its files cannot be read, StoreFull if there is no room to open it.
    """

    erased_within_s = ERASED_WITHIN_S

    def __init__(
        self,
        path: Path,
        identity: Identity,
        reserve: int = 0,
        *,
        erases: bool = True,
        bulk: bool = False,
    ) -> None:
        super().__init__(identity, WriteLock(path))
        self._path, self._room, self._bulk = path, Room(path, reserve), bulk
        collection = path / "collection"
        with ExitStack() as resources, ExitStack() as opening:
            with disk_errors("the case library"):
                make_folder(path)
                resources.enter_context(_only_process(path / "lock"))
                opening.enter_context(self.writing.held())
                if not collection.exists():
                    remove_drafts(collection)
                    self._room.require_for_new()
                    _create(collection, identity)
            identity.require(_read_identity(collection))
            with self._room.to_open(), _engine():
                self._shard = Shard(collection / "shard", identity.dimension)
                resources.callback(self._shard.close)
                with self._shard.use() as shard:
                    info = shard.info()
                self._unoptimized = info.points_count - info.indexed_vectors_count
                self._flushed_at = -math.inf
                self._erasure = Erasure(collection / "erasure.json", self.erase)
                if erases:
                    self._erasure.start()
            self._resources = resources.pop_all()
        self._room.keep()

    @classmethod
    def existing(cls, path: Path) -> Self:
        """Opens a library that exists, of any bundle and key.

        Raises StoreUnavailable if there is none, SchemaMismatch if its version cannot be read.
        """
        if not (path / "collection").is_dir():
            raise StoreUnavailable(
                "The directory holds no case library. Name one that `eclip index` wrote."
            )
        stored = _read_identity(path / "collection")
        stored.require_readable()
        return cls(path, stored, erases=False)

    def check(self) -> None:
        """Raises StoreUnavailable if the engine does not answer or cannot write."""
        with _engine(), self._shard.use() as shard:
            shard.info()
        with suppress(StoreFull), disk_errors("the case library"):  # full: see `check_room`
            probe(self._path)

    def check_room(self) -> None:
        """Raises StoreFull while no study can be written; makes the ballast whole otherwise."""
        self._room.require_for()
        self._room.keep()

    def close(self) -> None:
        """Erases what is due, flushes the engine and lets another process open the library."""
        self._erasure.close()
        with self.writing.held():
            self._resources.close()

    def erase(self) -> None:
        """Erases from the files what has been deleted or replaced.

        Writes wait meanwhile; reads go on. Raises StoreUnavailable, and the erasure stays due.
        """
        with self.writing.held():
            self._erasure.begin()
            self._room.require_to_erase()
            self._rewrite()
        with _engine():
            self._shard.roll_log(self._turn_to_log)
        with self.writing.held(), self._room.to_delete(), _engine():
            self._erasure.done()

    @contextmanager
    def _turn_to_log(self) -> Iterator[None]:
        with self.writing.held():
            self._room.require_to_log()
            yield

    def _write(self, operations: Sequence[Operation]) -> None:
        added = [point for each in operations if isinstance(each, Upsert) for point in each.points]
        if added:
            self._room.require_for(added)
        with self._room.to_delete(), _engine(), self._shard.use() as shard:
            leaves_content = any(
                isinstance(each, Remove) and self._leaves_content(each) for each in operations
            )
            if leaves_content:
                self._erasure.due()
            for operation in operations:
                shard.update(update_of(operation))
            recently = time.monotonic() - self._flushed_at < _FLUSH_EVERY_S
            if self._bulk and recently and not leaves_content:
                self._shard.sync_log()
            else:
                shard.flush()
                self._flushed_at = time.monotonic()
        self._room.keep()
        self._unoptimized += len(added)
        if added and self._unoptimized >= _OPTIMIZE_EVERY and self._room.to_rewrite():
            self._unoptimized = 0
            try:
                self._rewrite()
            except StoreUnavailable:  # what was written is stored; searches are slower until then
                log().error("optimization failed")

    def _leaves_content(self, removal: Remove) -> bool:
        """Tells whether the engine's files keep content of what is removed or replaced.

        A deletion counts always: a write that was cut short leaves content that is no point.
        """
        selection = removal.selection
        return not selection.spared or self._count(replace(selection, spared=())) > 0

    def _rewrite(self) -> None:
        with _engine():
            self._shard.rewrite(self._room.to_open)

    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        request = qdrant.ScrollRequest(
            limit=limit, filter=filter_of(selection), with_payload=fields or True
        )
        with _engine(), self._shard.use() as shard:
            records, _ = shard.scroll(request)
        return [record.payload or {} for record in records]

    def _page(
        self, selection: Selection, limit: int, after: str | None, *, bare: bool = False
    ) -> tuple[list[Point], str | None]:
        request = qdrant.ScrollRequest(
            offset=after,
            limit=limit,
            filter=filter_of(selection),
            with_payload=not bare,
            with_vector=not bare,
        )
        with _engine(), self._shard.use() as shard:
            records, further = shard.scroll(request)
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
        with _engine(), self._shard.use() as shard:
            points = shard.query(request)
        return [ScoredPoint(str(p.id), p.score, dense(p.vector, search.target)) for p in points]

    def _payloads(self, ids: Sequence[str]) -> dict[str, Payload]:
        with _engine(), self._shard.use() as shard:
            records = shard.retrieve(list(ids), with_payload=True, with_vector=False)
        return {str(record.id): record.payload or {} for record in records}

    def _count(self, selection: Selection) -> int:
        with _engine(), self._shard.use() as shard:
            return shard.count(qdrant.CountRequest(filter=filter_of(selection)))

    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        request = qdrant.FacetRequest(key, limit, exact=True, filter=filter_of(selection))
        with _engine(), self._shard.use() as shard:
            return {str(hit.value): hit.count for hit in shard.facet(request).hits}


def _create(collection: Path, identity: Identity) -> None:
    """Makes an empty collection, which appears under its name once it is whole."""
    with written_atomically(collection) as draft:
        draft.mkdir()
        with _engine():
            create(draft / "shard", identity.dimension)
        write_nothing_due(draft / "erasure.json")
        (draft / "identity.json").write_text(json.dumps(asdict(identity)))


def _read_identity(collection: Path) -> Identity:
    try:
        return Identity(**json.loads((collection / "identity.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise StoreUnavailable(
            "The case library's identity.json is missing or damaged. Restore it from a backup, "
            "or index the studies again into an empty directory."
        ) from error


@contextmanager
def _only_process(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(
                "Another process has this case library open. Stop that server, or use its API."
            ) from None
        yield


def _engine() -> AbstractContextManager[None]:
    return engine_errors(
        Exception,
        "The case library's engine failed. Check the disk's space and the directory's "
        "permissions, then start the server again.",
    )
