"""Erases deleted content from a library's files: soon after a deletion, and after a restart too.

A file says since when an erasure is due. It is written before anything is deleted, so that no
process that ends, however it ends, makes the next one forget it.
"""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from service.files import write_atomically
from service.telemetry import ERASURE_DUE, log

ERASED_WITHIN_S = 3600
"""Seconds after a deletion within which its content is erased, while a process has the library
open."""
_GATHERED_S = 10.0
"""Seconds between two erasures, at least: deletions are gathered meanwhile."""
_REST = 5.0
"""Times an erasure's length that the next one waits, at least, for what else the cores have to do."""
_MOST_REST_S = 600.0
"""Seconds that the next one waits, at most: or the promise could not be kept."""
_RETRY_S = 60.0
"""Seconds after which an erasure that failed is tried again."""


class Erasure:
    """What is due for erasure in one library, and the thread that erases it.

    file: keeps the state. An erasure is due where it is missing, as in a library of an earlier
    release, and where the process before did not close the library: a write that was cut short may
    have left words in the files. erase: does the work; it calls `begin` first and `done` last.
    Thread-safe if `due`, `begin` and `done` are called under the library's lock of writers.
    """

    def __init__(self, file: Path, erase: Callable[[], None]) -> None:
        self._file, self._erase = file, erase
        self._since = _read(file)
        self._newer: float | None = None
        self._changed, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="erasure", daemon=True)

    @property
    def age_s(self) -> float:
        """Seconds since the oldest deletion whose content is not erased yet; 0 if there is none."""
        return 0.0 if self._since is None else max(0.0, time.time() - self._since)

    def start(self) -> None:
        """Starts the thread. An erasure that an earlier process left is done at once."""
        self._note(opened=True)
        ERASURE_DUE.set_function(lambda: self.age_s)
        self._thread.start()

    def close(self) -> None:
        """Erases what is due, and ends the thread."""
        self._ending.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
            self._note(opened=False)

    def due(self) -> None:
        """Notes that something is about to be deleted. Durable on return."""
        now = time.time()
        self._newer = self._newer or now
        if self._since is None:
            self._write(now)
        self._changed.set()

    def begin(self) -> None:
        """Notes that an erasure begins: it erases what was deleted until now."""
        self._newer = None

    def done(self) -> None:
        """Notes that it has ended. What was deleted meanwhile stays due."""
        self._write(self._newer)

    def _note(self, *, opened: bool) -> None:
        """Notes that a process has the library open. A disk that is full only keeps this back."""
        try:
            _write(self._file, self._since, opened=opened)
        except OSError as error:
            log().error("erasure not noted", error=type(error).__name__)

    def _write(self, since: float | None) -> None:
        _write(self._file, since, opened=self._thread.is_alive())
        self._since = since

    def _run(self) -> None:
        pause = 0.0
        while self._awaited():
            self._ending.wait(pause)
            start = time.monotonic()
            succeeded = self._tried()
            if self._ending.is_set() and not succeeded:
                return
            rest = min(_REST * (time.monotonic() - start), _MOST_REST_S)
            pause = max(_GATHERED_S, rest) if succeeded else _RETRY_S

    def _awaited(self) -> bool:
        """Waits until an erasure is due. Returns False at the end."""
        while self._since is None and not self._ending.is_set():
            self._changed.wait()
            self._changed.clear()
        return self._since is not None

    def _tried(self) -> bool:
        try:
            self._erase()
        except Exception as error:  # whatever it is: it is tried again, and the server goes on
            log().error("erasure failed", error=type(error).__name__, due_s=round(self.age_s))
        else:
            return True
        if self.age_s > ERASED_WITHIN_S:
            log().error("erasure overdue", due_s=round(self.age_s), bound_s=ERASED_WITHIN_S)
        return False


def write_nothing_due(file: Path) -> None:
    """Writes the state of a library of which nothing is due."""
    _write(file, None)


def _read(file: Path) -> float | None:
    try:
        state = json.loads(file.read_text())
        since = state["due_since"] or (time.time() if state["opened"] else None)
        return None if since is None else float(since)
    except (OSError, ValueError, KeyError, TypeError):
        return time.time()


def _write(file: Path, since: float | None, *, opened: bool = False) -> None:
    write_atomically(file, json.dumps({"due_since": since, "opened": opened}).encode())
