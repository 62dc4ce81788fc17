"""Lets one thread write a library at a time, also where another process copies its files.

Files in the directory of an embedded library, which `flock` locks:

    turn       held by the process that writes or copies next
    writing    held by the process that writes or copies now

A process that waits holds `turn`. So a server that writes without a pause cannot pass it.
"""

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from service.deadline import exceeded
from service.files import disk_errors

NAMES = ("turn", "writing")
"""Files of the lock."""
_POLL_S = 0.01
"""Seconds between two attempts of a thread that does not wait for ever."""


class WriteLock:
    """A lock that a thread may acquire again while it holds it.

    folder: an embedded library's directory; None where no other process copies files. Raises
    StoreUnavailable, or StoreFull, where the disk refuses the files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._thread = threading.RLock()
        self._within = False

    @contextmanager
    def held(self, patience_s: float = -1) -> Iterator[None]:
        """Holds the lock during the block.

        Raises DeadlineExceeded if others hold it for longer than `patience_s` (-1: no matter how
        long).
        """
        end = None if patience_s < 0 else time.monotonic() + patience_s
        if not self._thread.acquire(timeout=patience_s):
            raise exceeded()
        try:
            if self._folder is None or self._within:
                yield
                return
            with _locked_files(self._folder, end):
                self._within = True
                try:
                    yield
                finally:
                    self._within = False
        finally:
            self._thread.release()


@contextmanager
def _locked_files(folder: Path, end: float | None) -> Iterator[None]:
    turn, writing = (folder / name for name in NAMES)
    with ExitStack() as files:
        with disk_errors("the case library"), turn.open("a") as next_one:
            _lock(next_one, end)
            _lock(files.enter_context(writing.open("a")), end)
        yield


def _lock(file: IO[str], end: float | None) -> None:
    """end: a time of `time.monotonic` until which others may hold the file; None: no matter."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if end is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if end is not None and time.monotonic() >= end:
                raise exceeded() from None
            time.sleep(_POLL_S)
        else:
            return
