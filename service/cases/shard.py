"""Opens the files of Qdrant Edge, and rewrites them so that nothing deleted stays in them.

What the engine deletes stays in its files: in its segments until it writes them again, and in its
write-ahead log. `Shard.rewrite` renews both.

Next to the folder of the shard there are, for a time:

    rewritten-…/   another shard with the same segments (hard links), which `vacuum.py` rewrites
    retired/       the segments that were in use before
"""

import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

from service.cases import vacuum
from service.files import sync

_NO_POINT = str(uuid.UUID(int=0))
"""Id of a point that no study has."""


class Shard:
    """The engine's shard in a folder, which is exchanged for a rewritten one while others read.

    Thread-safe. Writers exclude each other and wait during `rewrite`. Raises what the engine does.
    There must be room for what is written: the engine is ended by a signal where there is none.
    """

    def __init__(self, path: Path, config: qdrant.EdgeConfig | None = None) -> None:
        self.path, self._config = path, config
        self._updating = threading.Lock()
        self._vacuum: subprocess.Popen[bytes] | None = None
        self._retired = path.with_name("retired")
        self._undo_exchange()
        self._open = self._load()
        self._turn = threading.Condition()
        self._users, self._exchanging = 0, False

    @contextmanager
    def use(self) -> Iterator[qdrant.EdgeShard]:
        """Gives the open shard. An exchange waits until nobody uses it. Not reentrant."""
        with self._turn:
            self._turn.wait_for(lambda: not self._exchanging)
            self._users += 1
        try:
            yield self._open
        finally:
            with self._turn:
                self._users -= 1
                self._turn.notify_all()

    def update(self, operation: qdrant.UpdateOperation) -> None:
        """Changes the shard. The change is in its log on return, but not synced."""
        with self._updating, self.use() as shard:
            shard.update(operation)

    @property
    def unindexed(self) -> int:
        """Number of points whose vectors are in no graph."""
        with self.use() as shard:
            info = shard.info()
        return info.points_count - info.indexed_vectors_count

    def flush(self) -> None:
        """Syncs every file."""
        with self.use() as shard:
            shard.flush()

    def stop_rewriting(self) -> None:
        """Ends a rewriting that is under way, which raises then."""
        if self._vacuum is not None:
            self._vacuum.kill()

    def sync_log(self) -> None:
        """Syncs the write-ahead log alone, from which the rest is made again after a power cut.

        `flush` syncs every file and keeps the interpreter meanwhile; this lets it go.
        """
        log = self.path / "wal"
        try:
            for each in (*log.iterdir(), log):
                sync(each)
        except FileNotFoundError:  # the engine renames and drops files of a log that is rolled
            self._open.flush()

    def close(self) -> None:
        """Flushes and closes the shard."""
        self._open.close()

    def rewrite(self, room: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Writes every segment again that holds something deleted; builds graphs that are due.

        The work is done by another process on hard links of the files. Reads go on, until they wait
        for the moment in which the shard is opened again. A process that is killed leaves the old
        segments or the new ones.

        room: gives room to open the shard. Raises what it raises, OSError or CalledProcessError,
        and leaves the shard as it was.
        """
        with self._updating:
            with self.use() as shard:
                _litter(shard)
                shard.flush()
            try:
                rewritten = self._linked()
                self._vacuumed(rewritten)
                _sync_new_files(rewritten / "segments", self.path / "segments")
                with room():
                    self._exchange(rewritten)
            finally:
                self._remove_leftovers()

    def _vacuumed(self, shard: Path) -> None:
        command = [sys.executable, "-P", vacuum.__file__, str(shard), str(os.getpid())]
        null = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=null, stdout=null, stderr=null) as self._vacuum:  # noqa: S603 - our own file
            if self._vacuum.wait():
                raise subprocess.CalledProcessError(self._vacuum.returncode, command)
        self._vacuum = None

    def _load(self) -> qdrant.EdgeShard:
        return qdrant.EdgeShard.load(str(self.path), self._config)

    def _linked(self) -> Path:
        """Makes another shard of the same segments, with an empty log."""
        rewritten = self.path.with_name(f"rewritten-{uuid.uuid4().hex}")
        rewritten.mkdir()
        shutil.copy(self.path / "edge_config.json", rewritten)
        shutil.copytree(self.path / "segments", rewritten / "segments", copy_function=os.link)
        return rewritten

    def _exchange(self, rewritten: Path) -> None:
        points = _count(self._open)
        with self._turn:
            self._exchanging = True
            self._turn.wait_for(lambda: not self._users)
        try:
            self._open.close()
            try:
                (self.path / "segments").rename(self._retired)
                (rewritten / "segments").rename(self.path / "segments")
                shutil.rmtree(self.path / "wal")
                sync(self.path)
                self._open = self._load()
                if _count(self._open) != points:
                    raise RuntimeError("The rewritten segments lack points.")
            except BaseException:
                self._go_back(rewritten)
                raise
        finally:
            with self._turn:
                self._exchanging = False
                self._turn.notify_all()

    def _go_back(self, rewritten: Path) -> None:
        """Uses the old segments again."""
        self._open.close()
        if (self.path / "segments").exists() and self._retired.exists():
            (self.path / "segments").rename(rewritten / "segments")
        self._undo_exchange()
        self._open = self._load()

    def _undo_exchange(self) -> None:
        """Puts the old segments back where an exchange was cut short, and removes the rest.

        A process that is just being killed may still write the rest; the next rewriting removes it.
        """
        if self._retired.exists() and not (self.path / "segments").exists():
            self._retired.rename(self.path / "segments")
            sync(self.path)
        self._remove_leftovers(ignore_errors=True)

    def _remove_leftovers(self, *, ignore_errors: bool = False) -> None:
        copies = self.path.parent.glob("rewritten-*")
        dropped = (self.path / "segments").glob("*.deleted")
        for folder in (*copies, *dropped, self._retired, self.path / "temp_segments"):
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=ignore_errors)


def create(path: Path, config: qdrant.EdgeConfig) -> None:
    """Makes the files of an empty shard in a new folder."""
    qdrant.EdgeShard.create(str(path), config).close()


def _count(shard: qdrant.EdgeShard) -> int:
    return shard.count(qdrant.CountRequest())


def _litter(shard: qdrant.EdgeShard) -> None:
    """Deletes a point of the segment that takes writes.

    There a replaced point leaves its old payload in the files, but does not count as deleted.
    """
    point: Any = qdrant.Point(_NO_POINT, {}, {"part": "none"})
    shard.update(qdrant.UpdateOperation.upsert_points([point]))
    shard.update(qdrant.UpdateOperation.delete_points([_NO_POINT]))


def _sync_new_files(segments: Path, known: Path) -> None:
    for segment in segments.iterdir():
        if not (known / segment.name).exists():
            for each in (*segment.rglob("*"), segment):
                sync(each)
    sync(segments)
