"""Decides whether the disk has room for what an embedded library is about to do."""

import glob
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from service.cases.points import Point
from service.disk import SPARE, Reserve, bytes_taken, in_memory

_NEW = 224 * 2**20
"""Bytes that a new library takes, at most: on a filesystem in memory, without vectors."""
_LOG = 96 * 2**20
"""Bytes that a new log and new files for what is written take, at most."""
_SLACK = 4
"""How often the ballast has what a deletion needs: it may lose some each time it is given up."""
_COPIES = 4
"""How often the engine writes what it is given: in its log, as points, in indexes, and drafts."""


class Room:
    """The room of a library's directory.

    The engine maps its files into memory, and a process that touches a page for which the disk has
    no room is ended by a signal. So there must be room before the engine is asked for anything that
    writes. All methods raise StoreFull where there is none.
    """

    def __init__(self, path: Path, reserve: int) -> None:
        self._path, self._reserve = path, Reserve(path, reserve)
        self._collection = path / "collection"
        self._rewriting, self._given = threading.Condition(), 0
        """Bytes that were given to rewritings, which have taken a part of them."""

    def require_for_new(self) -> None:
        """Requires room for an empty library."""
        self._reserve.require(_NEW)

    def to_open(self) -> AbstractContextManager[None]:
        """Gives room to load the library, on a full disk that of the ballast."""
        return self._reserve.lent(SPARE + self._claimed)

    def to_delete(self) -> AbstractContextManager[None]:
        """Gives room to delete points, on a full disk that of the ballast."""
        return self._reserve.lent(SPARE)

    def require_for(self, points: Sequence[Point] = ()) -> None:
        """Requires room to write points beyond the reserve."""
        self._reserve.require(self._claimed + _COPIES * sum(map(_size, points)))

    @contextmanager
    def to_rewrite(self, shard: Path) -> Iterator[None]:
        """Gives room to copy the files of a shard and to write them anew.

        Waits for other rewritings where there is no room for all.
        """
        needed = _LOG + taken(shard)
        with self._rewriting:
            self._rewriting.wait_for(
                lambda: not self._given or self._reserve.has(self._given + needed)
            )
            self._reserve.require(needed)
            self._given += needed
        try:
            yield
        finally:
            with self._rewriting:
                self._given -= needed
                self._rewriting.notify_all()

    def keep(self) -> None:
        """Makes the ballast whole, as far as there is room: it has what `to_open` needs."""
        self._reserve.hold(_SLACK * SPARE + self._claimed)

    @property
    def _claimed(self) -> int:
        """Bytes that loading the vectors' files takes: their holes on a filesystem in memory."""
        if not in_memory(self._path):
            return 0
        pattern = "**/segments/*/vector_storage-*/vectors/*.mmap"
        vectors = _files(self._collection, pattern)
        return sum(file.st_size - bytes_taken(file) for file in vectors)


def taken(folder: Path) -> int:
    """Returns how many bytes of the disk the files below a folder take."""
    return sum(map(bytes_taken, _files(folder, "**/*")))


def _files(folder: Path, pattern: str) -> list[os.stat_result]:
    """Passes over what the engine removes meanwhile."""
    found: list[os.stat_result] = []
    for name in glob.iglob(pattern, root_dir=folder, recursive=True):  # noqa: PTH207
        with suppress(FileNotFoundError):
            found.append((folder / name).stat())
    return found


def _size(point: Point) -> int:
    """Returns about how many bytes a point has."""
    vector = 0 if point.vector is None else point.vector.nbytes
    return vector + len(json.dumps(point.payload))
