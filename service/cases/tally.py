"""Keeps the number of a library's studies in a file, so that studies that vanish are noticed."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.errors import StoreFull
from service.files import disk_errors

_DIGITS = 20
"""Length of the number in the file: it is replaced in place, also on a full disk."""


class Tally:
    """A number of studies that a library has at least. Processes that share the file exclude.

    Studies are counted from time to time, and a higher number is kept then. Before studies are
    deleted the number is lowered, so that after a crash it is never too high.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def deleting(self, studies: int) -> Iterator[None]:
        """Lowers the number by that of the studies which the block deletes."""
        with self._file() as file:
            _write(file, max(0, _read(file) - studies))
            yield

    def compare(self, count: Callable[[], int]) -> tuple[int, int]:
        """Counts the library; returns the number of studies it has, and how many of it miss."""
        with self._file() as file:
            stored, known = count(), _read(file)
            if stored > known:
                with suppress(StoreFull):
                    _write(file, stored)
        return stored, max(0, known - stored)

    def set(self, number: int) -> None:
        """Takes the number as right, also where it is lower."""
        with self._file() as file:
            _write(file, number)

    @contextmanager
    def _file(self) -> Iterator[int]:
        with disk_errors("the number of studies"):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)


def _read(file: int) -> int:
    """Returns the number; 0 where the file holds none."""
    digits = os.pread(file, _DIGITS, 0)
    return int(digits) if digits.isdigit() else 0


def _write(file: int, number: int) -> None:
    if number != _read(file):
        with disk_errors("the number of studies"):
            os.pwrite(file, f"{number:0{_DIGITS}}".encode(), 0)
            os.fsync(file)
