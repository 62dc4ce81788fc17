"""Who is let in: places for the items of requests in progress, taken before any thread is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.deadline import Deadline
from service.errors import QueueFull
from service.inference.queueing import fair_part, retry_after
from service.telemetry import ADMITTED


class Admission:
    """`places` for items; without them requests would wait for a thread, unbounded and unseen.

    A request larger than half of them takes half, as its items queue in parts. For one event loop.
    seconds_per_item: at which the towers drain, as measured.
    """

    def __init__(self, places: int, seconds_per_item: Callable[[], float]) -> None:
        self._places, self._seconds_per_item = places, seconds_per_item
        self._taken = 0

    @contextmanager
    def hold(self, deadline: Deadline) -> Iterator[None]:
        """Hold the places of a request while a step of it is done.

        Raises QueueFull at its first step only: what was let in is not turned away half done.
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
            f"{self._taken} of {self._places} places are taken; try again in {wait} s, or send "
            "fewer items.",
            retry_after_s=wait,
        )
