import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.deadline import Deadline
from service.errors import DeadlineExceeded, QueueFull
from service.inference.batching import STALLED_S, Batcher, Bounds

POISON = -1.0
BOUNDS = Bounds(batch=4, items=8)


def row(value: float) -> np.ndarray:
    return np.array([value], dtype=np.float32)


def double(rows: np.ndarray) -> np.ndarray:
    if (rows == POISON).any():
        raise RuntimeError("a poisoned row")
    return rows * 2


class Gate:
    """A tower that waits to be opened, and remembers the batches it was given."""

    def __init__(self) -> None:
        self.open, self.entered, self.batches = threading.Event(), threading.Event(), []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.entered.set()
        assert self.open.wait(10)
        self.batches.append(len(rows))
        return double(rows)


@pytest.fixture
def gated():
    gate = Gate()
    batcher = Batcher("test", gate, BOUNDS)
    yield gate, batcher
    gate.open.set()
    batcher.close()


@given(
    values=st.lists(st.sampled_from([1.0, 2.0, 3.0, POISON]), max_size=40),
    parts=st.integers(1, 5),
    expired=st.booleans(),
    calls=st.integers(1, 3),
)
@settings(max_examples=40)
def test_every_item_is_resolved_exactly_once(values, parts, expired, calls):
    batcher = Batcher("test", double, replace(BOUNDS, items=100, calls=calls))
    futures = []
    for part in np.array_split(np.array(values, dtype=np.float32), parts):
        deadline = Deadline(0 if expired else 30, bulk=len(part) > 2)
        futures += batcher.submit([row(v) for v in part], deadline)
    batcher.close()
    assert len(futures) == len(values)
    assert all(future.done() for future in futures)
    for value, future in zip(values, futures, strict=True):
        if expired:
            assert isinstance(future.exception(), DeadlineExceeded)
        elif value == POISON:
            assert isinstance(future.exception(), RuntimeError)
        else:
            assert future.result().value.item() == value * 2


def test_a_bad_row_in_a_batch_of_32_harms_only_itself():
    batcher = Batcher("test", double, replace(BOUNDS, batch=32, items=32))
    values = [float(v) for v in range(32)]
    values[17] = POISON
    futures = batcher.submit([row(v) for v in values], Deadline(30))
    batcher.close()
    failed = [index for index, future in enumerate(futures) if future.exception()]
    assert failed == [17]


def test_items_of_several_callers_share_a_call_of_at_most_max_batch(gated):
    gate, batcher = gated
    first = batcher.submit([row(1)], Deadline(30))
    gate.entered.wait(10)
    others = [batcher.submit([row(v)], Deadline(30)) for v in range(6)]
    gate.open.set()
    for (future,) in [first, *others]:
        future.result(10)
    assert gate.batches == [1, 4, 2]


def test_a_full_queue_takes_all_items_of_a_call_or_none(gated):
    gate, batcher = gated
    batcher.submit([row(0)], Deadline(30))
    gate.entered.wait(10)
    waiting = batcher.submit([row(v) for v in range(6)], Deadline(30))
    with pytest.raises(QueueFull, match="6 of 8 places") as full:
        batcher.submit([row(v) for v in range(3)], Deadline(30))
    assert full.value.retry_after_s >= 1
    waiting += batcher.submit([row(v) for v in range(2)], Deadline(30))
    gate.open.set()
    assert len([future.result(10) for future in waiting]) == 8


def test_what_was_cancelled_while_waiting_is_not_run(gated):
    gate, batcher = gated
    batcher.submit([row(0)], Deadline(30))
    gate.entered.wait(10)
    left = Deadline(30)
    (dropped,) = batcher.submit([row(1)], left)
    (kept,) = batcher.submit([row(2)], Deadline(30))
    left.cancel()
    gate.open.set()
    assert kept.result(10).value.item() == 4
    assert isinstance(dropped.exception(10), DeadlineExceeded)
    assert gate.batches == [1, 1]


def test_what_nobody_waits_for_gives_up_its_place(gated):
    gate, batcher = gated
    batcher.submit([row(0)], Deadline(30))
    gate.entered.wait(10)
    left = Deadline(30)
    dropped = batcher.submit([row(v) for v in range(5)], left)
    kept = batcher.submit([row(v) for v in range(3)], Deadline(30))
    left.cancel()
    kept += batcher.submit([row(v) for v in range(5)], Deadline(30))
    assert all(isinstance(future.exception(0), DeadlineExceeded) for future in dropped)
    gate.open.set()
    assert [future.result(10).value.item() for future in kept] == [0, 2, 4, 0, 2, 4, 6, 8]


def test_a_queue_full_of_wanted_items_counts_only_those(gated):
    gate, batcher = gated
    batcher.submit([row(0)], Deadline(30))
    gate.entered.wait(10)
    left = Deadline(30)
    batcher.submit([row(0)], left)
    batcher.submit([row(v) for v in range(7)], Deadline(30))
    left.cancel()
    with pytest.raises(QueueFull, match="7 of 8 places"):
        batcher.submit([row(0), row(1)], Deadline(30))


@given(
    calls=st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=12),
)
@settings(max_examples=30)
def test_every_item_taken_by_a_crowded_queue_is_resolved_exactly_once(calls):
    """A future that is answered twice raises in whoever answers it: worker or caller."""
    batcher = Batcher("test", double, replace(BOUNDS, batch=2, items=6))
    futures = []
    for count, leaves in calls:
        deadline = Deadline(30)
        with suppress(QueueFull):
            futures += batcher.submit([row(v) for v in range(count)], deadline)
        if leaves:
            deadline.cancel()
    assert batcher.healthy
    batcher.close()
    assert all(future.done() for future in futures)


def test_a_tower_that_answers_too_few_rows_fails_those_items_and_lives():
    batcher = Batcher("test", lambda rows: rows[:-1], BOUNDS)
    futures = batcher.submit([row(1), row(2)], Deadline(30))
    assert all(future.exception(10) is not None for future in futures)
    assert batcher.healthy
    batcher.close()


def test_a_closed_batcher_takes_nothing_more():
    batcher = Batcher("test", double, BOUNDS)
    batcher.close()
    with pytest.raises(QueueFull):
        batcher.submit([row(1)], Deadline(30))
    assert not batcher.healthy


def test_searches_go_before_bulk_work_that_came_first(gated):
    gate, batcher = gated
    batcher.submit([row(0)], Deadline(30))
    gate.entered.wait(10)
    bulk = batcher.submit([row(v) for v in range(4)], Deadline(30, bulk=True))
    searches = batcher.submit([row(v) for v in range(2)], Deadline(30))
    gate.open.set()
    last = [future.result(10) for future in bulk][-1]
    assert all(future.result(10).queue_s < last.queue_s for future in searches)
    assert gate.batches == [1, 4, 2]


def test_bulk_work_waits_for_its_share_while_searches_find_the_rest(gated):
    gate, batcher = gated
    batcher.submit([row(0)], Deadline(30, bulk=True))
    assert gate.entered.wait(10)
    batcher.submit([row(0)] * 6, Deadline(30, bulk=True))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(batcher.submit, [row(1), row(2)], Deadline(30, bulk=True))
        searches = batcher.submit([row(3)] * 2, Deadline(30))
        with pytest.raises(QueueFull):
            batcher.submit([row(3)], Deadline(30))
        assert not waiting.done()
        gate.open.set()
        answers = [future.result(10).value.item() for future in waiting.result(10)]
    assert answers == [2, 4]
    assert [future.result(10).value.item() for future in searches] == [6] * 2


def test_bulk_work_that_waits_for_room_ends_when_its_client_leaves(gated):
    gate, batcher = gated
    batcher.submit([row(0)], Deadline(30, bulk=True))
    assert gate.entered.wait(10)
    batcher.submit([row(0)] * 6, Deadline(30, bulk=True))
    deadline = Deadline(30, bulk=True)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(batcher.submit, [row(1)], deadline)
        assert not waiting.done()
        deadline.cancel()
        with pytest.raises(DeadlineExceeded):
            waiting.result(10)


def test_several_calls_run_side_by_side():
    together = threading.Barrier(2)

    def meet(rows):
        together.wait(10)
        return double(rows)

    batcher = Batcher("test", meet, replace(BOUNDS, calls=2))
    futures = batcher.submit([row(1), row(2)], Deadline(30))
    assert [future.result(10).value.item() for future in futures] == [2, 4]
    batcher.close()


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("service.inference.batching.time", clock)
    return clock


def test_a_held_batch_takes_what_arrives_soon_after(clock):
    sizes = []

    def slow(rows):
        sizes.append(len(rows))
        clock.now += 100
        return double(rows)

    batcher = Batcher("test", slow, replace(BOUNDS, batch=8, hold=True))
    for future in batcher.submit([row(v) for v in range(8)], Deadline(30)):  # a long call
        future.result(10)
    clock.now = 0
    futures = []
    for value in range(8):
        clock.now += 2  # short gaps
        futures += batcher.submit([row(value)], Deadline(30))
    for future in futures:
        future.result(10)
    batcher.close()
    assert sizes == [8, 8]


def test_a_worker_that_is_long_in_one_call_is_not_healthy(clock, gated):
    gate, batcher = gated
    batcher.submit([row(1)], Deadline(30))
    gate.entered.wait(10)
    assert batcher.healthy
    clock.now += STALLED_S + 1
    assert not batcher.healthy
