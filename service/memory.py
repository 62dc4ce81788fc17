"""Bounds the memory that requests hold, and that decoding takes.

Both are parts of one setting, `ECLIP_MEMORY_BYTES`. Neither waits for what the other holds. What
does not fit among the requests is refused; decoding waits for its turn.
"""

import ctypes
import mmap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.deadline import Deadline
from service.errors import BodyTooLarge, ImageTooLarge, MemoryShort, QueueFull

RETRY_S = 1
"""Seconds after which a refused request may find room."""
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3
"""Numbers of glibc's mallopt(3)."""
_ARENAS = 2
"""Heaps of glibc. Each keeps what was freed in it from the others, and from the system."""
_LARGE = 2**20
"""Bytes from which glibc maps a block by itself, and returns it to the system when it is freed."""
Reserve = Callable[[int], None]
"""Waits for room for so many bytes. Called once for an image, before its pixels are decoded."""


class RequestMemory:
    """Bytes that all requests together may hold, used by one event loop.

    They are for bodies as they arrive, what is parsed of them, the files of forms, and images that
    wait.
    """

    def __init__(self, total: int) -> None:
        self.total, self.taken = total, 0

    def request(self) -> "Held":
        """Returns what a new request holds: nothing yet."""
        return Held(self)


class Held:
    """The bytes that one request holds, from its first byte to its answer."""

    def __init__(self, memory: RequestMemory) -> None:
        self._memory, self.bytes = memory, 0

    def keep(self, size: int) -> None:
        """Sets the bytes that are held.

        A request may grow to as many bytes as it leaves free, and to all of them if it is alone.
        So large requests leave room for small ones. Raises QueueFull or BodyTooLarge.
        """
        total, others = self._memory.total, self._memory.taken - self.bytes
        if size > self.bytes:
            if size > total:
                raise _body_too_large(total)
            if others and size > total - others - size:
                raise _full(total)
        self._memory.taken, self.bytes = others + size, size

    def add(self, size: int) -> None:
        """Adds bytes to those that are held. Raises QueueFull or BodyTooLarge."""
        self.keep(self.bytes + size)


class DecodingMemory:
    """Bytes that all images together may take, from header to model input. Thread-safe."""

    def __init__(self, total: int) -> None:
        self._total, self._taken = total, 0
        self._in_turn = {"bulk": False, "search": False}
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[Reserve]:
        """Gives an image its turn, and frees what it reserves at the end.

        The header, which says how much to reserve, is read of one image of bulk work and of one of
        searches at a time. So small images never pass a large one that waits, but for those of
        searches: bulk work reserves nothing while one of them has its turn.

        Reserving raises ImageTooLarge where there can never be room. Both raise DeadlineExceeded.
        """
        kind, reserved = "bulk" if deadline.bulk else "search", 0

        def has_room(wanted: int) -> bool:
            first = not deadline.bulk or not self._in_turn["search"]
            return first and self._taken + wanted <= self._total

        def reserve(wanted: int) -> None:
            nonlocal reserved
            if wanted > self._total:
                raise _image_too_large(wanted, self._total)
            with self._changed:
                self._wait(lambda: has_room(wanted), deadline)
                reserved = wanted
                self._taken += wanted
                self._in_turn[kind] = False
                self._changed.notify_all()

        with self._changed:
            self._wait(lambda: not self._in_turn[kind], deadline)
            self._in_turn[kind] = True
        try:
            yield reserve
        finally:
            with self._changed:
                self._taken -= reserved
                if not reserved:
                    self._in_turn[kind] = False
                self._changed.notify_all()

    def _wait(self, has_room: Callable[[], bool], deadline: Deadline) -> None:
        with deadline.ending(self._wake), self._changed:
            self._changed.wait_for(lambda: has_room() or not deadline.remaining, deadline.remaining)
        deadline.check()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def require(size: int) -> None:
    """Raises MemoryShort if the system has no such number of bytes for this process.

    It asks for addresses and touches none of them. Some libraries end the process, or call a file
    damaged, where memory is short; so they are asked only after this.
    """
    try:
        mmap.mmap(-1, max(1, size)).close()
    except OSError:
        raise short() from None


def short() -> MemoryShort:
    """Returns the error of work for which there is too little memory."""
    return MemoryShort(
        f"There is too little memory for this request. Try again in {RETRY_S} s, or send fewer or "
        "smaller items.",
        retry_after_s=RETRY_S,
    )


def return_freed_memory() -> None:
    """Makes glibc return large blocks to the system once they are freed. Others do so already.

    By itself glibc raises the size from which it maps blocks, up to 32 MiB, and keeps a heap for
    each of many threads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, _ARENAS)
        mallopt(_MMAP_THRESHOLD, _LARGE)


def _image_too_large(wanted: int, most: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"Decoding the image takes up to {wanted} bytes of memory, over the {most} that there are "
        "for it. Downsample it, save it with 8 bits in gray, or raise ECLIP_MEMORY_BYTES."
    )


def _body_too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"Reading the request takes more than the {most} bytes of memory that there are for it. "
        "Send fewer or smaller items, or raise ECLIP_MEMORY_BYTES."
    )


def _full(most: int) -> QueueFull:
    return QueueFull(
        f"The requests in progress hold most of the {most} bytes of memory that there are for "
        f"them. Try again in {RETRY_S} s.",
        retry_after_s=RETRY_S,
    )
