"""Cross-request batching: whatever is waiting when a tower is free goes into its next call."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.deadline import Deadline, exceeded
from service.errors import QueueFull
from service.inference.queueing import (
    evenly,
    retry_after,
    shares,
    smoothed,
    worth_holding,
)
from service.telemetry import BATCH_SIZE, WAITING, WAITING_BYTES

Row = npt.NDArray[Any]
Answer = npt.NDArray[np.float32]
STALLED_S = 60.0


@dataclass(frozen=True, slots=True)
class TowerAnswer:
    """A tower's answer for one row, and the seconds it waited and ran."""

    vector: Answer
    queue_s: float
    infer_s: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a tower takes at once, and what may wait for it.

    batch: items in one call. items, bytes: that wait. calls: side by side. hold: calls cost alike
    whatever their size (a GPU), so a batch waits for company.
    """

    batch: int
    items: int
    bytes: int
    calls: int = 1
    hold: bool = False


@dataclass(frozen=True, slots=True)
class _Item:
    row: Row
    deadline: Deadline
    future: Future[TowerAnswer]
    since: float


class _Waiting:
    """Two lines, searches and bulk work, of bounded length and weight together."""

    def __init__(self, name: str, bounds: Bounds) -> None:
        self._name, self._bounds = name, bounds
        self._lines: dict[bool, deque[_Item]] = {False: deque(), True: deque()}
        self._calls = 0
        self.bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def has_room(self, items: Sequence[_Item]) -> bool:
        """Whether all of them fit; one item alone may be heavier than the bound."""
        weight = self.bytes + _weight(items)
        return len(self) + len(items) <= self._bounds.items and (
            weight <= self._bounds.bytes or not self.bytes
        )

    def add(self, items: Sequence[_Item]) -> None:
        """At the end of their line."""
        for item in items:
            self._lines[item.deadline.bulk].append(item)
        self._changed()

    def take(self) -> list[_Item]:
        """The next batch, searches first."""
        searches, bulk = self._lines[False], self._lines[True]
        most = evenly(len(self), self._bounds.calls, self._bounds.batch)
        self._calls += 1
        first, then = shares(len(searches), len(bulk), most, self._calls)
        taken = [searches.popleft() for _ in range(first)] + [bulk.popleft() for _ in range(then)]
        self._changed()
        return taken

    def prune(self) -> None:
        """Drop what nobody waits for any more."""
        self._lines = {bulk: deque(filter(_still_wanted, q)) for bulk, q in self._lines.items()}
        self._changed()

    def _changed(self) -> None:
        self.bytes = sum(_weight(line) for line in self._lines.values())
        WAITING.labels(self._name).set(len(self))
        WAITING_BYTES.labels(self._name).set(self.bytes)


class Batcher:
    """Worker threads in front of a tower, with one queue bounded in items and bytes."""

    def __init__(self, name: str, run: Callable[[Row], Answer], bounds: Bounds) -> None:
        self._name, self._run, self._bounds = name, run, bounds
        self._waiting = _Waiting(name, bounds)
        self._changed = threading.Condition()
        self._closed = False
        self.seconds_per_item = 0.05
        """At which it drains, all workers together, as measured."""
        self._call_s, self._gap_s = 0.05, 1.0
        self._last_arrival = time.monotonic()
        self._workers = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(bounds.calls)
        ]
        self._busy_since: dict[str, float] = {}
        for worker in self._workers:
            worker.start()

    def submit(self, rows: Sequence[Row], deadline: Deadline) -> list[Future[TowerAnswer]]:
        """Queue all rows or none; raises QueueFull with the time until there is room.

        Items that nobody waits for any more give up their places first.
        """
        items = [_Item(row, deadline, Future(), time.perf_counter()) for row in rows]
        with self._changed:
            if not self._waiting.has_room(items):
                self._waiting.prune()
            if self._closed or not self._waiting.has_room(items):
                raise self._full()
            self._waiting.add(items)
            self._note_arrival(len(items))
            self._changed.notify_all()
        return [item.future for item in items]

    @property
    def healthy(self) -> bool:
        """Whether every worker lives and is not stuck in one call."""
        stuck = any(time.monotonic() - since > STALLED_S for since in [*self._busy_since.values()])
        return all(worker.is_alive() for worker in self._workers) and not stuck

    def close(self) -> None:
        """Take no more, answer what is queued, and end the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _full(self) -> QueueFull:
        wait = retry_after(len(self._waiting), self.seconds_per_item)
        return QueueFull(
            f"{len(self._waiting)} of {self._bounds.items} places and {self._waiting.bytes} of "
            f"{self._bounds.bytes} bytes are taken; try again in {wait} s, or send fewer items.",
            retry_after_s=wait,
        )

    def _note_arrival(self, count: int) -> None:
        now = time.monotonic()
        if count:
            self._gap_s = smoothed(self._gap_s, (now - self._last_arrival) / count)
        self._last_arrival = now

    def _work(self) -> None:
        name = threading.current_thread().name
        while batch := self._next_batch():
            live = [item for item in batch if _still_wanted(item)]
            if live:
                self._busy_since[name] = time.monotonic()
                self._answer(live)
                del self._busy_since[name]

    def _next_batch(self) -> list[_Item]:
        """Wait for work; empty only when closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) or self._closed)
            if self._bounds.hold:
                self._hold()
            return self._waiting.take()

    def _hold(self) -> None:
        """Wait for company while it is worth it, never longer than a call."""
        until = time.monotonic() + self._call_s
        while (
            0 < len(self._waiting) < self._bounds.batch
            and not self._closed
            and worth_holding(len(self._waiting), self._gap_s, self._call_s)
            and self._changed.wait(min(2 * self._gap_s, until - time.monotonic()))
            and time.monotonic() < until
        ):
            pass

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
        self._call_s = smoothed(self._call_s, infer_s)
        per_item = infer_s / len(batch) / self._bounds.calls
        self.seconds_per_item = smoothed(self.seconds_per_item, per_item)
        for item, vector in answers:
            item.future.set_result(TowerAnswer(vector, start - item.since, infer_s))


def _weight(items: Iterable[_Item]) -> int:
    return sum(item.row.nbytes for item in items)


def _still_wanted(item: _Item) -> bool:
    if item.deadline.remaining > 0:
        return True
    item.future.set_exception(exceeded())
    return False
