"""Keeps the files of an engine's shard as generations: folders of which one is in use.

    current        names the generation that is in use
    1/, 2/, …      the engine's files of a generation

A shard is rewritten into a new generation while the old one is in use, then `current` is replaced.
In a shard of an earlier release the engine's files are next to where `current` will be, and are its
first generation.
"""

import errno
import fnmatch
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from service.errors import StoreUnavailable
from service.files import make_folder, sync, write_atomically

_CURRENT = "current"
_ENGINE_FILES = ("edge_config.json", "segments", "wal")
"""What a generation is made of. What else the engine leaves in its folder is a draft."""
_NO_NEW_POINTS = "id_tracker.mappings"
"""A file of those segments alone to which the engine adds no points."""
_NEVER_CHANGED = (
    *("id_tracker.mappings", "matrix.dat", "quantized.data", "page_*.dat"),
    *("graph.bin", "links_compressed.bin", "inverted_index.dat"),
    *("point_to_values.bin", "values_to_points.bin"),
)
"""Files that the engine (0.9) never changes in such a segment; a test compares their content."""
_READ_AT_ONCE = 2**20
"""Bytes. Files of flags are so long, whatever of them is a hole: the engine scans them at opening.
"""
_NOT_OFFERED = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
"""Errors by which a filesystem says that it cannot copy a range."""


class Generations:
    """The folders of one shard. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def current(self) -> Path:
        """The folder of the generation in use."""
        with suppress(FileNotFoundError):
            return self._path / (self._path / _CURRENT).read_text().strip()
        return self._path

    def new(self) -> Path:
        """Makes the empty folder of another generation."""
        numbers = [int(each.name) for each in self._path.iterdir() if each.name.isdigit()]
        folder = self._path / str(max(numbers, default=0) + 1)
        make_folder(folder)
        return folder

    def use(self, folder: Path) -> None:
        """Makes a synced generation the one in use, atomically."""
        write_atomically(self._path / _CURRENT, f"{folder.name}\n".encode())

    def recover(self) -> None:
        """Removes what a killed process left. It may still be writing: the next one removes that.

        An earlier release rewrote a shard in folders next to it, and put its segments aside. Raises
        StoreUnavailable, and removes nothing, where the generation in use is not whole.
        """
        retired, segments = self._path.with_name("retired"), self._path / "segments"
        if retired.exists() and self.current == self._path and not segments.exists():
            retired.rename(segments)
            sync(self._path)
        if not all((self.current / name).exists() for name in _ENGINE_FILES):
            raise StoreUnavailable(
                f"Files of the case library are missing, or {self._path.name}/{_CURRENT} in its "
                "directory does not name them. Restore a backup, or index the studies again into "
                "an empty directory."
            )
        for each in (retired, *self._path.parent.glob("rewritten-*")):
            shutil.rmtree(each, ignore_errors=True)
        self.remove_others(ignore_errors=True)

    def remove_others(self, *, ignore_errors: bool = False) -> None:
        """Removes everything but the generation in use."""
        current = self.current
        kept = {_CURRENT, current.name} if current != self._path else set(_ENGINE_FILES)
        for each in self._path.iterdir():
            if each.name in kept:
                continue
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=ignore_errors)
            else:
                each.unlink(missing_ok=True)


def link_files(source: Path, target: Path) -> None:
    """Copies a generation to which nobody writes into an empty folder on the same disk.

    The copy is what a process that is killed now would leave: both can be opened and written to.
    Files that the engine never changes are hard links. Raises OSError.
    """
    for name in _ENGINE_FILES:
        if (source / name).is_dir():
            _link_folder(source / name, target / name)
        else:
            copy_file(source / name, target / name)


def link_shard(source: Path, target: Path) -> None:
    """Copies a shard to which nobody writes, as `link_files` does: its generation in use alone."""
    generation = Generations(source).current
    folder = target if generation == source else target / generation.name
    folder.mkdir(parents=True)
    link_files(generation, folder)
    if folder != target:
        copy_file(source / _CURRENT, target / _CURRENT)


def copied_files(shard: Path) -> Iterator[Path]:
    """Yields the files of a shard that `link_shard` copies, on a disk with hard links."""
    generation = Generations(shard).current
    if generation != shard:
        yield shard / _CURRENT
    for name in _ENGINE_FILES:
        yield from _changing(generation / name)


def sync_files(folder: Path) -> None:
    """Syncs all files and folders below a folder, and itself."""
    for each in (*folder.rglob("*"), folder):
        sync(each)


def read_ahead(folder: Path, ending: threading.Event | None = None) -> None:
    """Reads the files below a folder, so that the system has them in memory. Raises OSError.

    The engine drops the files of a shard from the system's cache when it closes the shard. When it
    opens or searches the shard again, it reads them page by page, and no other thread of Python
    runs meanwhile. ending: makes it give up before the next file.
    """
    buffer = bytearray(_READ_AT_ONCE)
    for each in filter(Path.is_file, folder.rglob("*")):
        if ending is not None and ending.is_set():
            return
        left = max(_READ_AT_ONCE, each.stat().st_blocks * 512)  # pages are mostly holes
        with each.open("rb", buffering=0) as file:
            while left > 0 and (read := file.readinto(buffer)):
                left -= read


def remove_shared(folder: Path) -> None:
    """Removes the files of a generation that another one has too. Raises OSError."""
    for each in filter(Path.is_file, folder.rglob("*")):
        if each.stat().st_nlink > 1:
            each.unlink()


def indexed_points(folder: Path) -> int:
    """Returns how many points of a generation are in segments with a vector graph.

    Where points have no dense vectors these are the segments to which the engine adds none. Points
    that were deleted since the last flush are counted too.
    """
    if any(folder.glob("segments/*/vector_storage*/vectors")):
        segments = {graph.parents[1] for graph in folder.glob("segments/*/vector_index*/graph.bin")}
    else:
        segments = {file.parent for file in folder.glob(f"segments/*/{_NO_NEW_POINTS}")}
    return sum(map(_living, segments))


def _living(segment: Path) -> int:
    """Of each point the engine keeps a number of 8 bytes, and a bit if it is deleted."""
    points = (segment / "id_tracker.versions").stat().st_size // 8
    return points - int.from_bytes((segment / "id_tracker.deleted").read_bytes()).bit_count()


def _changing(path: Path, *, closed: bool = False) -> Iterator[Path]:
    """Yields the files at and below a path that may change. closed: as for `_link_folder`."""
    if path.is_dir():
        closed = closed or (path / _NO_NEW_POINTS).exists()
        for each in path.iterdir():
            yield from _changing(each, closed=closed)
    elif not (closed and _never_changes(path)):
        yield path


def _never_changes(file: Path) -> bool:
    """Tells whether a file of a segment to which the engine adds no points stays as it is."""
    return any(fnmatch.fnmatch(file.name, name) for name in _NEVER_CHANGED)


def _link_folder(source: Path, target: Path, *, closed: bool = False) -> None:
    """closed: whether this is within a segment to which the engine adds no points."""
    target.mkdir()
    closed = closed or (source / _NO_NEW_POINTS).exists()
    for each in source.iterdir():
        copy = target / each.name
        if each.is_dir():
            _link_folder(each, copy, closed=closed)
        elif closed and _never_changes(each):
            _link(each, copy)
        else:
            copy_file(each, copy)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or one without hard links
        copy_file(source, target)


def copy_file(source: Path, target: Path) -> None:
    """Copies a file's content and its holes, within the filesystem where it can."""
    if sys.platform != "linux":
        shutil.copyfile(source, target)
        return
    try:
        with source.open("rb") as read, target.open("wb") as written:
            _copy_extents(read.fileno(), written.fileno())
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
        shutil.copyfile(source, target)


def _copy_extents(read: int, written: int) -> None:
    """The engine's pages of 32 MiB are mostly holes."""
    size, start = os.fstat(read).st_size, 0
    os.truncate(written, size)
    while start < size:
        try:
            start = os.lseek(read, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole until the end
                return
            raise
        end = os.lseek(read, start, os.SEEK_HOLE)
        while start < end:
            copied = os.copy_file_range(read, written, end - start, start, start)
            if not copied:
                return
            start += copied
