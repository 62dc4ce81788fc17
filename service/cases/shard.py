"""Opens the files of Qdrant Edge, and rewrites them so that nothing deleted stays in them.

What the engine deletes stays in its files: in its segments until it writes them again, and in its
write-ahead log. `Shard.rewrite` renews the segments, `Shard.roll_log` the log.

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
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

from service.cases import vacuum
from service.cases.points import INDEXED, PARTS, WORDS
from service.files import sync

_SCANNED_KB = 100_000
"""Kilobytes: a smaller segment is scanned exactly, a larger one gets an HNSW graph."""
_FILLING = 8 * 2**20
"""Bytes of one entry that fills the log. The engine drops a file of the log (32 MiB) once the next
one is full too."""
_FILLINGS = 16
"""Entries after which the log must have dropped its older files. Measured: 7 or 8."""
_NO_POINT = str(uuid.UUID(int=0))
"""Id of a point that no study has."""


class Shard:
    """The engine's shard in a folder, which is exchanged for a rewritten one while others read.

    Thread-safe, except that nobody may write during `rewrite`. Raises what the engine raises.
    There must be room for what is written: the engine is ended by a signal where there is none.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self._path, self._config = path, _config(dimension)
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

    def sync_log(self) -> None:
        """Syncs the write-ahead log alone, from which the rest is made again after a power cut.

        `flush` syncs every file and keeps the interpreter meanwhile; this lets it go.
        """
        log = self._path / "wal"
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
        with self.use() as shard:
            _litter(shard)
            shard.flush()
        try:
            rewritten = self._linked()
            _vacuum(rewritten)
            _sync_new_files(rewritten / "segments", self._path / "segments")
            with room():
                self._exchange(rewritten)
        finally:
            self._remove_leftovers()

    def roll_log(self, turn: Callable[[], AbstractContextManager[None]]) -> None:
        """Fills the write-ahead log until the engine has dropped all that was in it.

        turn: gives room for an entry, while nobody else writes. Raises what it raises, and
        RuntimeError if the engine keeps the log.
        """
        mark = uuid.uuid4().hex
        with turn():
            self._log(mark)
        for _ in range(_FILLINGS):
            with turn():
                self._log("0" * _FILLING)
            if not self._log_holds(mark.encode()):
                return
        raise RuntimeError("The engine keeps its write-ahead log.")

    def _log(self, text: str) -> None:
        """Writes an entry that changes nothing, and flushes it."""
        nothing = qdrant.Filter(must=[qdrant.HasIdCondition({_NO_POINT})])
        with self.use() as shard:
            shard.update(qdrant.UpdateOperation.set_payload_by_filter(nothing, {"filling": text}))
            shard.flush()

    def _log_holds(self, mark: bytes) -> bool:
        for file in (self._path / "wal").iterdir():
            with suppress(FileNotFoundError):  # the engine dropped it
                if mark in file.read_bytes():
                    return True
        return False

    def _load(self) -> qdrant.EdgeShard:
        return qdrant.EdgeShard.load(str(self._path), self._config)

    def _linked(self) -> Path:
        """Makes another shard of the same segments, with an empty log."""
        rewritten = self._path.with_name(f"rewritten-{uuid.uuid4().hex}")
        rewritten.mkdir()
        shutil.copy(self._path / "edge_config.json", rewritten)
        shutil.copytree(self._path / "segments", rewritten / "segments", copy_function=os.link)
        return rewritten

    def _exchange(self, rewritten: Path) -> None:
        points = _count(self._open)
        with self._turn:
            self._exchanging = True
            self._turn.wait_for(lambda: not self._users)
        try:
            self._open.close()
            try:
                (self._path / "segments").rename(self._retired)
                (rewritten / "segments").rename(self._path / "segments")
                sync(self._path)
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
        if (self._path / "segments").exists() and self._retired.exists():
            (self._path / "segments").rename(rewritten / "segments")
        self._undo_exchange()
        self._open = self._load()

    def _undo_exchange(self) -> None:
        """Puts the old segments back where an exchange was cut short, and removes the rest.

        A process that is just being killed may still write the rest; the next rewriting removes it.
        """
        if self._retired.exists() and not (self._path / "segments").exists():
            self._retired.rename(self._path / "segments")
            sync(self._path)
        self._remove_leftovers(ignore_errors=True)

    def _remove_leftovers(self, *, ignore_errors: bool = False) -> None:
        copies = self._path.parent.glob("rewritten-*")
        dropped = (self._path / "segments").glob("*.deleted")
        for folder in (*copies, *dropped, self._retired, self._path / "temp_segments"):
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=ignore_errors)


def create(path: Path, dimension: int) -> None:
    """Makes the files of an empty shard in a new folder."""
    shard = qdrant.EdgeShard.create(str(path), _config(dimension))
    for key in INDEXED:
        keyword = qdrant.PayloadSchemaType.Keyword
        shard.update(qdrant.UpdateOperation.create_field_index(key, keyword))
    shard.flush()
    shard.close()


def _count(shard: qdrant.EdgeShard) -> int:
    return shard.count(qdrant.CountRequest())


def _config(dimension: int) -> qdrant.EdgeConfig:
    """Makes one deleted point reason enough to write a segment again."""
    params = qdrant.EdgeVectorParams(size=dimension, distance=qdrant.Distance.Cosine)
    return qdrant.EdgeConfig(
        vectors=dict.fromkeys(PARTS, params),
        sparse_vectors={WORDS: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        optimizers=qdrant.EdgeOptimizersConfig(
            indexing_threshold=_SCANNED_KB, deleted_threshold=0.0, vacuum_min_vector_number=0
        ),
    )


def _litter(shard: qdrant.EdgeShard) -> None:
    """Deletes a point of the segment that takes writes.

    There a replaced point leaves its old payload in the files, but does not count as deleted.
    """
    point: Any = qdrant.Point(_NO_POINT, {}, {"part": "none"})
    shard.update(qdrant.UpdateOperation.upsert_points([point]))
    shard.update(qdrant.UpdateOperation.delete_points([_NO_POINT]))


def _vacuum(shard: Path) -> None:
    command = [sys.executable, "-P", vacuum.__file__, str(shard), str(os.getpid())]
    subprocess.run(  # noqa: S603 - our own file, by this interpreter
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _sync_new_files(segments: Path, known: Path) -> None:
    for segment in segments.iterdir():
        if not (known / segment.name).exists():
            for each in (*segment.rglob("*"), segment):
                sync(each)
    sync(segments)
