"""Batches items of different requests: what waits when a tower is free goes into its next call."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from service.deadline import Deadline, exceeded
from service.errors import QueueFull
from service.inference.queueing import (
    bulk_share,
    even_share,
    fill_batch,
    retry_after,
    smoothed,
    worth_holding,
)
from service.telemetry import BATCH_SIZE, WAITING, WAITING_BYTES, record

Row = npt.NDArray[Any]
"""One item of a tower's input: an image uint8[H, W] or token ids int64[L]."""
Answer = TypeVar("Answer")
"""What a tower answers for one row, such as its vector."""
STALLED_S = 60.0
"""Seconds in one call after which a worker counts as stuck."""


@dataclass(frozen=True, slots=True)
class TowerAnswer(Generic[Answer]):
    """A tower's answer for one row, and the seconds that the row waited and ran."""

    value: Answer
    queue_s: float
    infer_s: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on what a tower takes in one call, and on what waits for it.

    batch: items in one call. items: together in the queue. calls: calls side by side.
    hold: whether a batch waits for more items, because a call costs the same at any size (a GPU).
    """

    batch: int
    items: int
    calls: int = 1
    hold: bool = False


@dataclass(frozen=True, slots=True)
class _Item(Generic[Answer]):
    row: Row
    deadline: Deadline
    future: Future[TowerAnswer[Answer]]
    since: float


class _Waiting(Generic[Answer]):
    """Two queues, of searches and of bulk work, bounded together.

    Bulk work has a bound of its own, its `bulk_share`. The requests count what the items weigh.
    """

    def __init__(self, name: str, bounds: Bounds) -> None:
        self._name, self._bounds = name, bounds
        self._queues: dict[bool, deque[_Item[Answer]]] = {False: deque(), True: deque()}
        self._calls = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def has_room(self, count: int, *, bulk: bool) -> bool:
        """Decides whether so many items fit."""
        places = self._bounds.items
        if bulk and len(self._queues[True]) + count > bulk_share(places):
            return False
        return len(self) + count <= places

    def add(self, items: Sequence[_Item[Answer]]) -> None:
        """Appends each item to its queue."""
        for item in items:
            self._queues[item.deadline.bulk].append(item)
        self._changed()

    def take(self) -> list[_Item[Answer]]:
        """Takes the next batch out, searches first."""
        searches, bulk = self._queues[False], self._queues[True]
        limit = even_share(len(self), self._bounds.calls, self._bounds.batch)
        self._calls += 1
        from_searches, from_bulk = fill_batch(len(searches), len(bulk), limit, self._calls)
        batch = [searches.popleft() for _ in range(from_searches)]
        batch += [bulk.popleft() for _ in range(from_bulk)]
        self._changed()
        return batch

    def prune(self) -> None:
        """Drops items whose deadline has passed or whose client has left."""
        self._queues = {bulk: deque(filter(_still_wanted, q)) for bulk, q in self._queues.items()}
        self._changed()

    def _changed(self) -> None:
        WAITING.labels(self._name).set(len(self))
        weight = sum(item.row.nbytes for queue in self._queues.values() for item in queue)
        WAITING_BYTES.labels(self._name).set(weight)


class Batcher(Generic[Answer]):
    """Worker threads that call a tower on batches from one bounded queue.

    name: the tower's name in threads and metrics. run: the tower, rows [N, …] → N answers.
    """

    def __init__(self, name: str, run: Callable[[Row], Iterable[Answer]], bounds: Bounds) -> None:
        self._name, self._run, self._bounds = name, run, bounds
        self._waiting: _Waiting[Answer] = _Waiting(name, bounds)
        self._changed = threading.Condition()
        self._closed = False
        self.seconds_per_item = 0.05
        """Moving mean of measured seconds for one item, all workers together."""
        self._call_s, self._gap_s = 0.05, 1.0
        self._last_arrival = time.monotonic()
        self._workers = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(bounds.calls)
        ]
        self._busy_since: dict[str, float] = {}
        for worker in self._workers:
            worker.start()

    def submit(self, rows: Sequence[Row], deadline: Deadline) -> list[Future[TowerAnswer[Answer]]]:
        """Queues all rows or none and returns a future for each.

        A full queue first drops items that nobody waits for any more. If that is not enough, bulk
        work waits for room: it was admitted, and is not refused half done. Other work is refused.

        Raises QueueFull, with the seconds until there is room, also if the batcher is closed;
        DeadlineExceeded if its time passes first.
        """
        items: list[_Item[Answer]] = [
            _Item(row, deadline, Future(), time.perf_counter()) for row in rows
        ]
        with deadline.ending(self._wake), self._changed:
            if not self._waiting.has_room(len(items), bulk=deadline.bulk):
                self._waiting.prune()
            if deadline.bulk:
                self._wait_for_room(items, deadline)
            if self._closed or not self._waiting.has_room(len(items), bulk=deadline.bulk):
                deadline.check()
                raise self._full()
            self._waiting.add(items)
            self._note_arrival(len(items))
            self._changed.notify_all()
        return [item.future for item in items]

    @property
    def healthy(self) -> bool:
        """Whether every worker lives and none has been in one call for `STALLED_S`."""
        stuck = any(time.monotonic() - since > STALLED_S for since in [*self._busy_since.values()])
        return all(worker.is_alive() for worker in self._workers) and not stuck

    def close(self) -> None:
        """Refuses new items, answers the queued ones and ends the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _wait_for_room(self, items: Sequence[_Item[Answer]], deadline: Deadline) -> None:
        self._changed.wait_for(
            lambda: (
                self._closed
                or deadline.remaining == 0
                or self._waiting.has_room(len(items), bulk=True)
            ),
            deadline.remaining,
        )

    def _wake(self) -> None:
        """Lets bulk work see that its client has left."""
        with self._changed:
            self._changed.notify_all()

    def _full(self) -> QueueFull:
        wait = retry_after(len(self._waiting), self.seconds_per_item)
        return QueueFull(
            f"The queue is full: {len(self._waiting)} of {self._bounds.items} places are taken. "
            f"Try again in {wait} s, or send fewer items.",
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

    def _next_batch(self) -> list[_Item[Answer]]:
        """Waits for work. Returns an empty batch only once closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) or self._closed)
            if self._bounds.hold:
                self._hold()
            batch = self._waiting.take()
            self._changed.notify_all()  # bulk work may wait for room
            return batch

    def _hold(self) -> None:
        """Waits for more items while that is worth it, at most as long as a call takes."""
        until = time.monotonic() + self._call_s
        while (
            0 < len(self._waiting) < self._bounds.batch
            and not self._closed
            and worth_holding(len(self._waiting), self._gap_s, self._call_s)
            and self._changed.wait(min(2 * self._gap_s, until - time.monotonic()))
            and time.monotonic() < until
        ):
            pass

    def _answer(self, batch: list[_Item[Answer]]) -> None:
        """Runs one batch. If it fails, runs its halves, so that a bad row fails alone."""
        start = time.perf_counter()
        try:
            answers = self._run(np.stack([item.row for item in batch]))
            answered = list(zip(batch, answers, strict=True))
        except Exception as error:  # the runtime may raise anything, and the worker must live
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
        for item, answer in answered:
            item.future.set_result(TowerAnswer(answer, start - item.since, infer_s))


def collect(futures: Sequence[Future[TowerAnswer[Answer]]], deadline: Deadline) -> list[Answer]:
    """Returns the answers for submitted rows, in order. Raises DeadlineExceeded, and drops them."""
    try:
        answers = [future.result(timeout=deadline.remaining) for future in futures]
    except FutureTimeout:
        deadline.cancel()
        raise exceeded() from None
    if answers:
        infer_s = max(answer.infer_s for answer in answers)
        record("queue", max(answer.queue_s for answer in answers), ago=infer_s)
        record("infer", infer_s)
    return [answer.value for answer in answers]


def _still_wanted(item: _Item[Any]) -> bool:
    if item.deadline.remaining > 0:
        return True
    item.future.set_exception(exceeded())
    return False
