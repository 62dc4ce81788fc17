"""Admits requests: bounds the items of all requests in progress, before any takes a thread."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.deadline import Deadline
from service.errors import QueueFull
from service.inference.queueing import fair_part, retry_after
from service.telemetry import ADMITTED


class Admission:
    """Places for the items of requests in progress, used by one event loop.

    Without it, requests would wait for a thread in a queue without bounds and metrics. A request
    of more items than half the places takes half of them, because its items queue in parts.

    seconds_per_item: returns the measured seconds of tower time for one item.
    """

    def __init__(self, places: int, seconds_per_item: Callable[[], float]) -> None:
        self._places, self._seconds_per_item = places, seconds_per_item
        self._taken = 0

    @contextmanager
    def hold(self, deadline: Deadline) -> Iterator[None]:
        """Holds a request's places during one of its steps.

        Raises QueueFull, but only at the request's first step: an admitted request is not refused
        half done.
        """
        wanted = min(deadline.items, fair_part(self._places))
        if not deadline.admitted and self._taken + wanted > self._places:
            raise self._full()
        deadline.admitted = True
        self._change(wanted)
        try:
            yield
        finally:
            self._change(-wanted)

    def _change(self, by: int) -> None:
        self._taken += by
        ADMITTED.set(self._taken)

    def _full(self) -> QueueFull:
        wait = retry_after(self._taken, self._seconds_per_item())
        return QueueFull(
            f"The queue is full: {self._taken} of {self._places} places are taken. Try again in "
            f"{wait} s, or send fewer items.",
            retry_after_s=wait,
        )
