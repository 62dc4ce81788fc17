"""Opens the files of Qdrant Edge, and rewrites them while others read and write.

What the engine deletes stays in its files, and what is written has no vector graph at first.
`Shard.rewrite` mends both: another process (`vacuum.py`) makes new segments and an empty log of a
copy of the files, the updates of the meantime are repeated, and readers get the new generation.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import qdrant_edge as qdrant

from service.cases.generations import (
    Generations,
    indexed_points,
    link_files,
    read_ahead,
    remove_shared,
    sync_files,
)
from service.cases.vacuum_process import VacuumProcess
from service.files import sync

_MOST_MISSED = 1024
"""Updates that a new generation lacks at most; writers wait beyond it. One is about a megabyte."""
_AT_ONCE = 16
"""Updates that are repeated while writers may have to wait for it."""

_Room = Callable[[], AbstractContextManager[None]]
"""Gives room on the disk while the engine writes, or raises."""


def create(path: Path, config: qdrant.EdgeConfig, indexed: Sequence[str] = ()) -> None:
    """Makes the files of an empty shard in a new folder.

    indexed: keys of payloads that are indexed, on the disk.
    """
    path.mkdir()
    generations = Generations(path)
    folder = generations.new()
    shard = qdrant.EdgeShard.create(str(folder), config)
    on_disk = qdrant.KeywordIndexParams(on_disk=True)
    for key in indexed:
        shard.update(qdrant.UpdateOperation.create_field_index(key, on_disk))
    shard.flush()
    shard.close()
    generations.use(folder)


class Shard:
    """The engine's shard in a folder. Thread-safe; one process may have it open.

    Writers exclude each other; readers wait for nobody. The engine itself holds Python's global
    lock in each call: `flush` and `close` for as long as the disk takes to sync some fifty files.
    Raises what the engine raises. There must be room for what is written: the engine is ended by a
    signal where there is none.

    config: replaces that of the files; None keeps it. Segments that are there take on what it says
    of them when they are rewritten.
    """

    def __init__(self, path: Path, config: qdrant.EdgeConfig | None = None) -> None:
        self.path, self._generations = path, Generations(path)
        self._generations.recover()
        self._used = _Generation(self._generations.current, config)
        self._reading, self._writing = threading.Condition(), threading.Condition()
        self._missed: deque[qdrant.UpdateOperation] = deque()
        self._remembers, self._bounded = False, False
        self._rewriting, self._vacuum = threading.Lock(), VacuumProcess()

    @contextmanager
    def use(self) -> Iterator[qdrant.EdgeShard]:
        """Gives the open shard to read from. Write by `update` alone."""
        with self._read() as generation:
            yield generation.engine

    @property
    def unindexed(self) -> int:
        """Points that wait for a vector graph, or to be closed where they have no vectors.

        Those of them that were deleted since are counted too.
        """
        return self._used.unindexed

    @property
    def points(self) -> int:
        """Points, with some that were replaced."""
        return self._used.points

    def read_ahead(self, ending: threading.Event) -> None:
        """Reads all files into the system's memory, unless it ends. Raises OSError."""
        with self._read() as generation:
            read_ahead(generation.folder, ending)

    def update(self, operation: qdrant.UpdateOperation) -> None:
        """Applies an update, which is durable after `sync_log` or `flush`."""
        with self._writing:
            self._writing.wait_for(lambda: not self._bounded or len(self._missed) < _MOST_MISSED)
            self._used.update(operation)
            if self._remembers:
                self._missed.append(operation)

    def flush(self) -> None:
        """Syncs all files, in the end by the engine. Then no other thread of Python runs."""
        with self._writing:
            self._used.flush()

    def save(self) -> None:
        """Syncs all files. Nobody may write or exchange them meanwhile; others may read."""
        with self._read() as generation:
            sync_files(generation.folder)

    def sync_log(self) -> None:
        """Syncs the write-ahead log alone, from which the rest is made again after a power cut."""
        with self._read() as generation:
            generation.sync_log()

    def close(self) -> None:
        """Flushes and closes the shard. A rewriting that has not come to its end is given up."""
        self._vacuum.end()
        with self._rewriting, self._writing:
            self._retire(self._used)

    def rewrite(self, room: _Room = nullcontext, *, threads: int = 0) -> None:
        """Writes every segment again that holds something deleted; builds graphs that are due.

        Afterwards no file holds what was deleted before this began. Others read and write
        meanwhile; a second rewriting waits. A process that is killed leaves the old generation or
        the new one, with all updates that were durable.

        room: is asked for before the new generation is opened and before updates are repeated.
        threads: that build a graph at most, if the configuration has HNSW parameters; 0: as many as
        the engine likes. Raises what `room` raises, OSError, CalledProcessError, or RuntimeError if
        points are missing or the shard was closed, and leaves the shard as it was.
        """
        with self._rewriting:
            self._vacuum.require()
            folder, fresh = self._generations.new(), None
            try:
                self._copy(folder)
                self._vacuum.run(folder, threads)
                sync_files(folder)
                read_ahead(folder)
                self._let_writers_on()
                with room():
                    fresh = _Generation(folder)
                self._catch_up(fresh, room)
                old = self._exchange(fresh, room)
            except BaseException:
                self._give_up(fresh)
                raise
            self._retire(old)
            self._generations.remove_others()

    def stop_rewriting(self) -> None:
        """Gives up a rewriting whose process runs: it raises CalledProcessError."""
        self._vacuum.kill()

    @contextmanager
    def _read(self) -> "Iterator[_Generation]":
        with self._reading:
            generation = self._used
            generation.readers += 1
        try:
            yield generation
        finally:
            with self._reading:
                generation.readers -= 1
                self._reading.notify_all()

    def _copy(self, folder: Path) -> None:
        """Copies what a process that is killed now would leave; remembers updates from here on."""
        with self._writing:
            link_files(self._used.folder, folder)
            self._remembers = self._bounded = True

    def _let_writers_on(self) -> None:
        """Lets those writers go on that wait: they may hold the room that is needed next."""
        with self._writing:
            self._bounded = False
            self._writing.notify_all()

    def _catch_up(self, fresh: "_Generation", room: _Room) -> None:
        """Repeats the updates of the meantime, but for the last few."""
        while len(self._missed) > _AT_ONCE:
            with room():
                self._repeat(fresh)

    def _repeat(self, fresh: "_Generation") -> None:
        for _ in range(min(_AT_ONCE, len(self._missed))):
            fresh.update(self._missed.popleft())

    def _exchange(self, fresh: "_Generation", room: _Room) -> "_Generation":
        """Repeats the last updates, gives the new generation to all, and returns the old one."""
        with room(), self._writing:
            while self._missed:
                self._repeat(fresh)
            if not fresh.holds_as_many_points_as(self._used):
                raise RuntimeError("The rewritten segments lack points.")
            fresh.sync_log()
            old = self._used
            try:
                self._generations.use(fresh.folder)
            finally:
                if self._generations.current == fresh.folder:  # an error may come after that
                    self._switch(fresh)
        return old

    def _switch(self, fresh: "_Generation") -> None:
        self._remembers = False
        with self._reading:
            self._used = fresh

    def _give_up(self, fresh: "_Generation | None") -> None:
        with self._writing:
            self._missed.clear()
            self._remembers = self._bounded = False
            self._writing.notify_all()
        if fresh and fresh is not self._used:
            fresh.close()
        self._generations.remove_others(ignore_errors=True)

    def _retire(self, generation: "_Generation") -> None:
        """Closes a generation when its last reader has left.

        The engine drops the files of a shard that it closes from the system's cache. The generation
        in use has some of them too: they stay there if they are removed from this one before.
        """
        with self._reading:
            self._reading.wait_for(lambda: not generation.readers)
        if generation is not self._used:
            with suppress(OSError):
                remove_shared(generation.folder)
        generation.close()


class _Generation:
    """A generation that is open, how many read it, and how many of its points lack an index."""

    def __init__(self, folder: Path, config: qdrant.EdgeConfig | None = None) -> None:
        self.folder, self.readers = folder, 0
        self.engine = qdrant.EdgeShard.load(str(folder), config)
        self.points = self.engine.info().points_count
        self.unindexed = max(0, self.points - indexed_points(folder))

    def holds_as_many_points_as(self, other: "_Generation") -> bool:
        """Asks for the exact counts, which take a while, if the sums over segments differ."""
        return self.points == other.points or self._count() == other._count()

    def update(self, operation: qdrant.UpdateOperation) -> None:
        """Counts new points: the engine's count of graphs' vectors has deleted ones and words."""
        self.engine.update(operation)
        points = self.engine.info().points_count
        self.unindexed += max(0, points - self.points)
        self.points = points

    def sync_log(self) -> None:
        log = self.folder / "wal"
        try:
            for each in (*log.iterdir(), log):
                sync(each)
        except FileNotFoundError:
            log.stat()  # raises where the log itself is gone
            self.sync_log()  # the engine has renamed or dropped a file meanwhile

    def flush(self) -> None:
        """Flushes the engine. What is synced before costs other threads less."""
        sync_files(self.folder)
        self.engine.flush()

    def close(self) -> None:
        """Closes the engine, which flushes it again: two short stops are better than a long one."""
        with suppress(Exception):  # the log has what is not in other files
            self.flush()
        self.engine.close()

    def _count(self) -> int:
        return self.engine.count(qdrant.CountRequest())
