"""Admits requests: bounds the items of all requests in progress, before any takes a thread."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.deadline import Deadline
from service.errors import QueueFull
from service.inference.queueing import bulk_share, fair_part, retry_after
from service.telemetry import ADMITTED


class Admission:
    """Places for the items of requests in progress, used by one event loop.

    Without it, requests would wait for a thread in a queue without bounds and metrics. A large
    request takes the places of one `fair_part`, because its items queue in parts. Bulk work takes
    no more than its `bulk_share`, however much of it comes.

    seconds_per_item: returns the measured seconds of tower time for one item.
    """

    def __init__(self, places: int, seconds_per_item: Callable[[], float]) -> None:
        self._places, self._seconds_per_item = places, seconds_per_item
        self._taken = self._bulk_taken = 0

    @contextmanager
    def hold(self, deadline: Deadline) -> Iterator[None]:
        """Holds a request's places during one of its steps.

        Raises QueueFull, but only at the request's first step: an admitted request is not refused
        half done.
        """
        wanted = min(deadline.items, fair_part(self._places, bulk=deadline.bulk))
        if not deadline.admitted:
            self._check_room(wanted, bulk=deadline.bulk)
        deadline.admitted = True
        self._change(wanted, bulk=deadline.bulk)
        try:
            yield
        finally:
            self._change(-wanted, bulk=deadline.bulk)

    def _change(self, by: int, *, bulk: bool) -> None:
        self._taken += by
        self._bulk_taken += by if bulk else 0
        ADMITTED.set(self._taken)

    def _check_room(self, wanted: int, *, bulk: bool) -> None:
        if bulk and self._bulk_taken + wanted > (share := bulk_share(self._places)):
            raise self._full(self._bulk_taken, f"{share} places for bulk work")
        if self._taken + wanted > self._places:
            raise self._full(self._taken, f"{self._places} places")

    def _full(self, taken: int, places: str) -> QueueFull:
        wait = retry_after(taken, self._seconds_per_item())
        return QueueFull(
            f"The queue is full: {taken} of {places} are taken. Try again in {wait} s, or send "
            "fewer items.",
            retry_after_s=wait,
        )
