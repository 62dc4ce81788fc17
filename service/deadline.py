"""The time a request has left, and whether its client is still there."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import DeadlineExceeded


class Deadline:
    """The end of a request's time. All queued items of the request share it. Thread-safe.

    items: number of items in the request. bulk: whether interactive requests go first. admitted:
    whether the request already has its places in the queue.
    """

    def __init__(self, seconds: float, *, items: int = 1, bulk: bool = False) -> None:
        self.items, self.bulk, self.admitted = items, bulk, False
        self._at = time.monotonic() + seconds
        self._left = threading.Event()
        self._ends: list[Callable[[], None]] = []

    def within(self, seconds: float) -> "Deadline":
        """Returns a shorter deadline for one step. Cancelling this one cancels the step."""
        step = Deadline(min(seconds, self.remaining), items=self.items, bulk=self.bulk)
        step.admitted, step._left, step._ends = self.admitted, self._left, self._ends
        return step

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Calls `end`, perhaps twice and from another thread, if the client leaves meanwhile."""
        self._ends.append(end)
        try:
            if self._left.is_set():
                end()
            yield
        finally:
            self._ends.remove(end)

    def cancel(self) -> None:
        """Drops the request's queued work, because its client has left."""
        self._left.set()
        for end in tuple(self._ends):
            end()

    @property
    def remaining(self) -> float:
        """Seconds left; 0 once time is up or the client has left."""
        return 0.0 if self._left.is_set() else max(0.0, self._at - time.monotonic())

    def check(self) -> None:
        """Raises DeadlineExceeded once time is up."""
        if self.remaining == 0:
            raise exceeded()


def exceeded() -> DeadlineExceeded:
    """Returns the error for work that its deadline cut off."""
    return DeadlineExceeded(
        "The deadline passed before the work was done; what was queued has been dropped. "
        "Send fewer items or try again when the service is less busy."
    )
