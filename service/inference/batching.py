"""Cross-request batching: whatever is waiting when a tower is free goes into its next call."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import DeadlineExceeded, QueueFull
from service.telemetry import BATCH_SIZE, WAITING

Row = npt.NDArray[Any]
Answer = npt.NDArray[np.float32]
STALLED_S = 60.0
SMOOTHING = 0.2


class Deadline:
    """When a request's time is up, or its client has left; shared by all of its queued items."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self._left = threading.Event()

    def cancel(self) -> None:
        """The client has gone: what is still queued need not be done."""
        self._left.set()

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return 0.0 if self._left.is_set() else max(0.0, self._at - time.monotonic())

    def check(self) -> None:
        """Raise DeadlineExceeded once time is up."""
        if self.remaining == 0:
            raise _exceeded()


@dataclass(frozen=True, slots=True)
class Embedded:
    """A tower's answer for one row, and the seconds it waited and ran."""

    vector: Answer
    queue_s: float
    infer_s: float


@dataclass(frozen=True, slots=True)
class _Item:
    row: Row
    deadline: Deadline
    future: Future[Embedded]
    since: float


class Batcher:
    """One worker thread in front of a tower, with a queue bounded in items."""

    def __init__(
        self, name: str, run: Callable[[Row], Answer], *, max_batch: int, max_waiting: int
    ) -> None:
        self._name, self._run = name, run
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._busy_since: float | None = None
        self._seconds_per_item = 0.05
        self._worker = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)
        self._worker.start()

    def submit(self, rows: Sequence[Row], deadline: Deadline) -> list[Future[Embedded]]:
        """Queue all rows or none; raises QueueFull with the time until there is room.

        Items that nobody waits for any more give up their places first.
        """
        items = [_Item(row, deadline, Future(), time.perf_counter()) for row in rows]
        with self._changed:
            if len(self._waiting) + len(items) > self._max_waiting:
                self._waiting = deque(filter(_still_wanted, self._waiting))
                WAITING.labels(self._name).set(len(self._waiting))
            if self._closed or len(self._waiting) + len(items) > self._max_waiting:
                wait = math.ceil(len(self._waiting) * self._seconds_per_item) + 1
                raise QueueFull(
                    f"{len(self._waiting)} of {self._max_waiting} places are taken; "
                    f"try again in {wait} s, or send fewer items.",
                    retry_after_s=wait,
                )
            self._waiting.extend(items)
            WAITING.labels(self._name).set(len(self._waiting))
            self._changed.notify()
        return [item.future for item in items]

    @property
    def beating(self) -> bool:
        """Whether the worker lives and is not stuck in one call."""
        busy_since = self._busy_since
        stuck = busy_since is not None and time.monotonic() - busy_since > STALLED_S
        return self._worker.is_alive() and not stuck

    def close(self) -> None:
        """Take no more, answer what is queued, and end the worker."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            live = [item for item in batch if _still_wanted(item)]
            if live:
                self._busy_since = time.monotonic()
                self._answer(live)
                self._busy_since = None

    def _next_batch(self) -> list[_Item]:
        """Wait for work; empty only when closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            count = min(len(self._waiting), self._max_batch)
            batch = [self._waiting.popleft() for _ in range(count)]
            WAITING.labels(self._name).set(len(self._waiting))
            return batch

    def _answer(self, batch: list[_Item]) -> None:
        """Run one batch; when it fails, halve it, so that a bad row harms only itself."""
        start = time.perf_counter()
        try:
            vectors = self._run(np.stack([item.row for item in batch]))
            answers = list(zip(batch, vectors, strict=True))
        except Exception as error:  # the runtime may raise anything, and no worker may die of it
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            self._answer(batch[: len(batch) // 2])
            self._answer(batch[len(batch) // 2 :])
            return
        infer_s = time.perf_counter() - start
        BATCH_SIZE.labels(self._name).observe(len(batch))
        self._seconds_per_item += SMOOTHING * (infer_s / len(batch) - self._seconds_per_item)
        for item, vector in answers:
            item.future.set_result(Embedded(vector, start - item.since, infer_s))


def _still_wanted(item: _Item) -> bool:
    if item.deadline.remaining > 0:
        return True
    item.future.set_exception(_exceeded())
    return False


def _exceeded() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The deadline passed before the work was done; what was queued has been dropped. "
        "Send fewer items or try again when the service is less busy."
    )
