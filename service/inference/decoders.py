"""Runs the decoding of images on threads, within the memory for it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TypeVar

from service.deadline import Deadline, exceeded
from service.errors import DeadlineExceeded, EclipError, MemoryShort
from service.memory import DecodingMemory, Reserve, short

Decoded = TypeVar("Decoded")


class Decoders:
    """Threads that decode. Bulk work has its own, so that no search waits behind its images.

    count: threads for searches, and as many for bulk work. memory: what all may take together.
    """

    def __init__(self, count: int, memory: DecodingMemory) -> None:
        self._memory = memory
        self._of_searches = ThreadPoolExecutor(count, thread_name_prefix="decode")
        self._of_bulk = ThreadPoolExecutor(count, thread_name_prefix="decode-bulk")

    def each(
        self,
        items: Sequence[bytes],
        deadline: Deadline,
        decode: Callable[[bytes, Reserve], Decoded],
    ) -> list[Decoded | EclipError]:
        """Returns what `decode` makes of each item, in order. A bad item's answer is its own error.

        Items that have not begun at the deadline stop. Raises DeadlineExceeded or MemoryShort for
        all of them.
        """
        threads = self._of_bulk if deadline.bulk else self._of_searches
        decoding = threads.map(
            lambda data: self._one(data, deadline, decode), items, timeout=deadline.remaining
        )
        try:
            return list(decoding)
        except FutureTimeout:
            raise exceeded() from None

    def close(self) -> None:
        """Finishes what was handed in, and ends the threads."""
        self._of_searches.shutdown()
        self._of_bulk.shutdown()

    def _one(
        self, data: bytes, deadline: Deadline, decode: Callable[[bytes, Reserve], Decoded]
    ) -> Decoded | EclipError:
        deadline.check()
        try:
            with self._memory.turn(deadline) as reserve:
                return decode(data, reserve)
        except (DeadlineExceeded, MemoryShort):
            raise
        except MemoryError:
            raise short() from None
        except EclipError as error:
            return error
