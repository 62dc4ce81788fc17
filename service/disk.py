"""Keeps room on a disk: refuses writes before it is full, and has a file to give up when it is."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.errors import StoreFull
from service.files import disk_errors

SPARE = 4 * 2**20
"""Bytes that are enough to delete studies and to write some hundred records of reports."""
_LEFT = 2**16
"""Bytes that the ballast leaves free on a disk that is otherwise full."""
_INODES = 256
"""Free inodes below which a disk counts as full; the engine's optimizer makes a hundred files."""
_WHAT = "the case library"


class Reserve:
    """Room that is kept on the disk of a folder: half of it free, half as a file. Thread-safe.

    The file, `ballast`, is given up where the disk is full, for what must work even then.

    reserve: bytes; of a small disk at most a quarter is kept. With 0 nothing is.
    """

    def __init__(self, folder: Path, reserve: int) -> None:
        self._folder, self._reserve = folder, reserve
        self._ballast = folder / "ballast"
        self._turn = threading.Lock()
        self._borrowers, self._given_up = 0, 0

    def require(self, more: int = 0) -> None:
        """Raises StoreFull unless half of the reserve stays free when `more` bytes are written."""
        with disk_errors(_WHAT):
            needed = self._half + more
            if free_bytes(self._folder) < needed or not _has_inodes(self._folder):
                raise _full(self._folder, needed)

    def has(self, more: int) -> bool:
        """Tells whether `require` would pass."""
        try:
            self.require(more)
        except StoreFull:
            return False
        return True

    @contextmanager
    def lent(self, needed: int) -> Iterator[None]:
        """Gives up the ballast while the block runs, unless inodes and `needed` bytes are free.

        Several may borrow at a time; the last one to end puts the ballast back. Raises StoreFull if
        the bytes are too few even so.
        """
        with self._turn:
            self._borrowers += 1
        try:
            with self._turn, disk_errors(_WHAT):
                self._give_up(needed)
            yield
        finally:
            with self._turn:
                self._borrowers -= 1
                if self._given_up and not self._borrowers:
                    self._hold(self._given_up)
                    self._given_up = 0

    def hold(self, least: int = 0) -> None:
        """Makes the ballast, or makes it whole again, as far as the disk has room.

        It has half of the reserve, or `least` bytes if that is more and there is a reserve.
        """
        with self._turn:
            if self._reserve and not self._borrowers:
                self._hold(least)

    def _give_up(self, needed: int) -> None:
        short = free_bytes(self._folder) < needed or not _has_inodes(self._folder)
        if short and self._ballast.exists():
            self._given_up = self._ballast.stat().st_size
            self._ballast.unlink()
        if free_bytes(self._folder) < needed:
            raise _full(self._folder, needed)

    @property
    def _half(self) -> int:
        disk = _disk(self._folder)
        return min(self._reserve, disk.f_blocks * disk.f_frsize // 4) // 2

    def _hold(self, least: int = 0) -> None:
        with suppress(OSError):  # no room, or no right to write: the probes say so
            held = self._ballast.stat().st_size if self._ballast.exists() else 0
            size = min(max(self._half, least), held + free_bytes(self._folder) - _LEFT)
            if size > held:
                _allocate(self._ballast, held, size)


def bytes_taken(file: os.stat_result) -> int:
    """Returns the bytes that a file takes on its disk, holes left out."""
    return min(file.st_size, file.st_blocks * 512)


def free_bytes(folder: Path) -> int:
    """Returns the bytes that this process may still write to the folder's disk.

    A folder that does not exist yet is on the disk of its nearest parent.
    """
    disk = _disk(folder)
    return disk.f_bavail * disk.f_frsize


def in_memory(folder: Path) -> bool:
    """Tells whether the folder's filesystem is one in memory, where reading a hole fills it."""
    device, mounts = folder.stat().st_dev, Path("/proc/self/mountinfo")
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = mounts.read_text().splitlines() if mounts.exists() else []
    return any(f" {number} " in line and " - tmpfs " in line for line in lines)


def _has_inodes(folder: Path) -> bool:
    disk = _disk(folder)
    return disk.f_files == 0 or disk.f_favail >= _INODES  # 0: the filesystem counts none


def _disk(folder: Path) -> os.statvfs_result:
    return os.statvfs(next(each for each in (folder, *folder.absolute().parents) if each.exists()))


def _allocate(path: Path, held: int, size: int) -> None:
    """Gives a file `size` bytes of the disk, of which it has `held`; else leaves it as it was."""
    with open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        try:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), held, size - held)
            else:
                file.write(b"\0" * (size - held))
        except OSError:
            os.ftruncate(file.fileno(), held)
            raise


def _full(folder: Path, needed: int) -> StoreFull:
    free = free_bytes(folder)
    lack = f"{free // 2**20} MiB are free, and {needed // 2**20 + 1} MiB are needed"
    found = "it has no inodes left" if free >= needed else lack
    return StoreFull(
        f"The disk of the data directory is full: {found}. Free some room on it; nothing else is "
        "needed. Until then studies can be read and deleted."
    )
