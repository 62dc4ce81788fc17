"""Keeps a case library in this process, on this disk, with Qdrant Edge (the default).

Files in the library's directory:

    lock                     held by the one process that has the library open
    turn, writing            held while a process writes or copies these files (`writing.py`)
    ballast                  given up on a full disk (service.disk)
    collection/identity.json bundle, hash key, dimension and schema version
    collection/erasure.json  since when deleted content waits to be erased
    collection/journal       the write that is under way, or the last one
    collection/KIND/         the engine's shard of records, images, reports or passages
"""

import fcntl
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from service.cases.edge_reading import EdgeReader, edge_engine
from service.cases.erasure import ERASED_WITHIN_S, Erasure
from service.cases.journal import NOTHING, Journal, entry_of
from service.cases.layout import create_collection, open_shards, read_identity
from service.cases.operations import (
    Operation,
    Remove,
    Upsert,
    records_of,
)
from service.cases.room import Room
from service.cases.schema import Identity
from service.cases.shard import Shard
from service.cases.shards import Shards
from service.cases.snapshot import remove_abandoned
from service.cases.upkeep import DUE_BULK, DUE_LIVING, Upkeep
from service.cases.writing import WriteLock
from service.errors import StoreFull, StoreUnavailable
from service.files import disk_errors, make_folder, probe, remove_drafts
from service.imaging.deidentify import StudyRef

_AT_ONCE = 2
"""Shards that bulk work rewrites at once: for half of the time a rewriting takes one core."""


class EdgeStore(EdgeReader):
    """A case store in a directory, which only one process may have open.

    Every write is in synced logs of the engine before it returns, and soon after in its other
    files. After a crash at any moment a study is whole or absent; one that was being replaced may
    have its record without a digest (`service.cases.journal`). What is deleted or replaced is
    erased from the files soon after, and before the store is closed.

    On a full disk the library opens, is read, and studies are deleted.

    reserve: bytes that are kept on the disk; see `service.disk.Reserve`. erases: whether threads
    erase what is due and build graphs; otherwise it stays due. bulk: whether graphs are built
    rarely, for work that ends with `build_graphs`. Raises StoreUnavailable if another process has
    the library open or its files cannot be read, StoreFull if there is no room to open it.
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
        self._path, self._room = path, Room(path, reserve)
        self._threads = 0 if bulk else max(1, (os.cpu_count() or 1) // 2)
        collection = path / "collection"
        with ExitStack() as opening, ExitStack() as resources:
            with disk_errors("the case library"):
                make_folder(path)
                resources.enter_context(_only_process(path / "lock"))
                opening.enter_context(self.writing.held())
                remove_abandoned(path)
                if not collection.exists():
                    remove_drafts(collection)
                    self._room.require_for_new()
                    with edge_engine():
                        create_collection(collection, identity)
            identity.require(read_identity(collection))
            with self._room.to_open(), edge_engine():
                self._shards = Shards(open_shards(collection, identity.dimension))
                resources.callback(self._shards.close)
            self._erasure = Erasure(collection / "erasure.json", self.erase)
            self._journal, self._torn = Journal(collection / "journal"), True
            with self._room.to_delete(), edge_engine():
                self._undo_torn_write()
            due = DUE_BULK if bulk else DUE_LIVING
            sweep = partial(remove_abandoned, path)
            at_once = _AT_ONCE if bulk else 1
            self._upkeep = Upkeep(
                self._shards, self._save, self._flush, self._rewrite, sweep, due, at_once
            )
            if erases:
                self._erasure.start()
                self._upkeep.start(reads_ahead=not bulk)
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
        stored = read_identity(path / "collection")
        stored.require_readable()
        return cls(path, stored, erases=False)

    def check(self) -> None:
        """Raises StoreUnavailable if the engine does not answer or cannot write."""
        for each in self._shards:
            with edge_engine(), each.use() as shard:
                shard.info()
        with suppress(StoreFull), disk_errors("the case library"):  # full: see `check_room`
            probe(self._path)

    def check_room(self) -> None:
        """Raises StoreFull while no study can be written; makes the ballast whole otherwise."""
        self._room.require_for()
        self._room.keep()

    def build_graphs(self) -> None:
        """Builds the graphs that are due, by which large segments are searched."""
        self._upkeep.build_graphs()

    def close(self) -> None:
        """Erases what is due, flushes the engine and lets another process open the library.

        A graph that is being built is given up. The next process builds it. A shard that another
        thread of the caller's rewrites is waited for, and no other is rewritten.
        """
        self._upkeep.close()
        self._erasure.close()
        with self._upkeep.rewriting, self.writing.held():
            self._resources.close()

    def erase(self) -> None:
        """Erases from the files what has been deleted or replaced until now.

        Reads and writes go on. Raises StoreUnavailable, and the erasure stays due.
        """
        with self.writing.held():
            self._erasure.begin()
        remove_abandoned(self._path)
        self._upkeep.rewrite()
        with self.writing.held(), self._room.to_delete(), edge_engine():
            if not self._torn:
                self._journal.write(NOTHING)
            self._erasure.done()

    def _write(self, operations: Sequence[Operation]) -> None:
        added = [point for each in operations if isinstance(each, Upsert) for point in each.points]
        if added:
            self._room.require_for(added)
        with self._room.to_delete(), edge_engine():
            self._undo_torn_write()
            removals = [each for each in operations if isinstance(each, Remove)]
            if any(map(self._leaves_content, removals)):
                self._erasure.due()
            elif removals:  # nothing is replaced
                operations = [each for each in operations if isinstance(each, Upsert)]
            self._torn = True
            self._journal.write(entry_of(operations))
            self._shards.apply(operations)
            self._torn = False
        self._room.keep()

    def _undo_torn_write(self) -> None:
        """Undoes the last write if it was cut short, by an error or by the end of a process."""
        if self._torn:
            entry = self._journal.read()
            remedy = entry.remedy(self._digests(entry.written))
            if remedy:
                self._erasure.due()
                self._shards.apply(remedy)
            self._torn = False

    def _digests(self, studies: Collection[StudyRef]) -> dict[StudyRef, str]:
        """Returns the digests in the records of these studies, also empty ones."""
        found = self._select(records_of(list(studies)), limit=len(studies)) if studies else []
        return {record["study_id"]: record["digest"] for record in found}

    def _leaves_content(self, removal: Remove) -> bool:
        """Tells whether the engine's files keep content of what is removed or replaced.

        A deletion counts always: a write that was cut short leaves content that is no point.
        """
        selection = removal.selection
        return not selection.spared or self._count(replace(selection, spared=())) > 0

    def _rewrite(self, shard: Shard) -> None:
        with edge_engine(), self._room.to_rewrite(shard.path):
            shard.rewrite(self._turn, threads=self._threads)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Gives room to change the files, while nobody writes or copies them."""
        with self.writing.held(), self._room.to_open():
            yield

    def _save(self) -> None:
        with self.writing.held(), self._room.to_delete(), edge_engine():
            self._shards.save()

    def _flush(self) -> None:
        with self.writing.held(), self._room.to_delete(), edge_engine():
            self._shards.flush_oldest()


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
