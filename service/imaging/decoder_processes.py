"""Runs codecs in processes that live on, for frames that could end or keep the service.

Each place has one process, which starts with the first frame that comes to it. A process that ends
costs its own frame; the next frame gets a new one. It is bounded in memory and in time.
"""

import atexit
import os
import queue
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import ImageUndecodable
from service.imaging.dicom.frame_header import FrameHeader
from service.imaging.footprint import process_bytes
from service.imaging.shared_memory import SharedMemory

Words = npt.NDArray[Any]

MOST_S = 60
"""Seconds that a frame may take."""
_START_S = 60
"""Seconds that a process may take to start, besides. One that never answers is let go of then."""
_IDLE_S = 300
"""Seconds after which a process that decodes nothing ends, and its memory is free."""
_CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
_KEPT = ("PATH", "LANG", "LC_", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "PYTHON", "TMPDIR")
"""Beginnings of the environment variables that a process gets; others may hold keys.
Those of glibc's memory count as 0 where they are empty, which makes every allocation slow."""


def decode(header: FrameHeader, frame: bytes, level: int = 0) -> Words:
    """Returns the words of a frame, as `codecs.decode` does, from a decoder process.

    Waits until a place is free: there are as many as processors.

    Raises FrameDamaged; ImageUndecodable for a frame that ends its process or is too late; and
    MemoryError for a process that had too little memory, could not start or was killed, as a
    system does that is short of memory.
    """
    with _PLACES.one() as place:
        return place.decode(header, frame, level)


class _Place:
    """At most one decoder process, and memory that it shares with the service."""

    def __init__(self) -> None:
        self._executor: Any = None
        self._memory = SharedMemory()

    def decode(self, header: FrameHeader, frame: bytes, level: int) -> Words:
        """Returns the words of a frame."""
        from service.imaging import decoder_worker as worker  # with imagecodecs

        samples = header.rows * header.columns * header.samples
        bounds = process_bytes(samples, len(frame), bits=header.depth), MOST_S
        words: Words
        try:
            path = self._memory.hold(frame)
            self._run(worker.decode_shared, header, path, len(frame), level, *bounds)
            words = np.empty(header.shape(level), header.dtype)
            self._memory.read(words)
        except OSError:  # there is no such memory, or the process cannot open it
            words = self._run(worker.decode, header, frame, level, *bounds)
        return words

    def _run(self, call: Callable[..., Any], *arguments: object) -> Any:
        try:
            return self._submit(call, *arguments).result(MOST_S + _START_S)
        except TimeoutError:  # loky got no thread to send or to answer
            self._executor.shutdown(wait=False, kill_workers=True)
            self._executor = None
            raise MemoryError from None
        except BrokenExecutor as error:
            self._executor = None
            codes = str(error)
        if "SIGKILL" in codes or "EXIT(" in codes:  # no frame makes a process exit by itself
            raise MemoryError
        raise ImageUndecodable(
            f"The DICOM's compressed frame is damaged: it ended its decoder, or kept it busy for "
            f"over {MOST_S} s. Export it again, uncompressed if possible."
        )

    def _submit(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Gives work to the process, or to a new one if it has ended since its last frame."""
        if self._executor is not None:
            try:
                return self._executor.submit(call, *arguments)
            except BrokenExecutor:
                self._executor = None
        try:
            executor = _executor()
            answer = executor.submit(call, *arguments)
        except (OSError, RuntimeError):  # no descriptor, process or thread is left
            raise MemoryError from None
        self._executor = executor  # not before: one that has started in part would never answer
        return answer


class _Places:
    """The free places. The one that was used last comes first: no more start than are needed."""

    def __init__(self) -> None:
        self._inherited: list[queue.LifoQueue[_Place]] = []
        self._free = self._new()
        atexit.register(self._forget)
        os.register_at_fork(after_in_child=self._leave_to_parent)

    @contextmanager
    def one(self) -> Iterator[_Place]:
        """Waits for a free place."""
        free = self._free
        place = free.get()
        try:
            yield place
        finally:
            free.put(place)

    def _new(self) -> "queue.LifoQueue[_Place]":
        free: queue.LifoQueue[_Place] = queue.LifoQueue()
        for _ in range(_CORES):
            free.put(_Place())
        return free

    def _forget(self) -> None:
        """Lets go of the processes while loky can still end them."""
        self._free = queue.LifoQueue()

    def _leave_to_parent(self) -> None:
        """Keeps what was inherited alive: loky would write to the parent as it lets go of it."""
        self._inherited.append(self._free)
        self._free = self._new()


_PLACES = _Places()


def _executor() -> Any:
    import loky

    from service.imaging import decoder_worker as worker

    # It warns of what is expected: that a process has ended, and that it finds no `pgrep`.
    warnings.filterwarnings("ignore", category=UserWarning, module="loky")
    environment = {name: "" for name in os.environ if not name.startswith(_KEPT)}
    environment["PYTHONFAULTHANDLER"] = ""  # else loky turns it on, and it writes to stderr
    return loky.ProcessPoolExecutor(
        1, timeout=_IDLE_S, initializer=worker.start, initargs=(os.getpid(),), env=environment
    )
