"""Works on items ahead of their consumer, several at a time, and yields the results in order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar


class Sized(Protocol):
    """A result that takes memory."""

    @property
    def size(self) -> int:
        """Bytes of memory."""
        ...


Item = TypeVar("Item")
Result = TypeVar("Result", bound=Sized)


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    at_once: int,
    ahead: int,
    ahead_bytes: int,
) -> Generator[Result, None, None]:
    """Yields the result of each item, in order. Raises what `work` raises, in the item's place.

    at_once: items that are worked on. ahead: items that are worked on or finished. ahead_bytes:
    size of finished results with which no further item is begun, but for the one that is awaited.
    Close it to end its threads once the work in progress is done.
    """
    room, left = _Room(ahead_bytes), enumerate(items)
    running: deque[Future[Result]] = deque()

    def run(number: int, item: Item) -> Result:
        room.enter(number)
        result = work(item)
        room.fill(result.size)
        return result

    with ThreadPoolExecutor(at_once, thread_name_prefix="ahead") as pool:
        try:
            running.extend(pool.submit(run, *each) for each in islice(left, ahead))
            while running:
                result = running.popleft().result()
                room.leave(result.size)
                yield result
                del result  # before the next one is awaited
                running.extend(pool.submit(run, *each) for each in islice(left, 1))
        finally:
            room.open()
            pool.shutdown(wait=False, cancel_futures=True)


class _Room:
    """Counts the bytes of finished results that wait for their consumer. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._awaited, self._changed = limit, 0, 0, threading.Condition()

    def enter(self, number: int) -> None:
        """Waits until there is room, or until the item of this number is the one awaited."""
        with self._changed:
            self._changed.wait_for(lambda: self._held < self._limit or number <= self._awaited)

    def fill(self, size: int) -> None:
        """Counts a finished result."""
        with self._changed:
            self._held += size

    def leave(self, size: int) -> None:
        """Gives the room of the awaited result back."""
        with self._changed:
            self._held -= size
            self._awaited += 1
            self._changed.notify_all()

    def open(self) -> None:
        """Lets everybody in, because nobody waits for results any more."""
        with self._changed:
            self._held = -(2**62)
            self._changed.notify_all()
