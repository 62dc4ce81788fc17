import threading
import time
from dataclasses import dataclass

import pytest

from service.pacs.pull.ahead import in_order


@dataclass(frozen=True)
class Result:
    number: int
    size: int = 10


def run(work, items, *, ahead=8, ahead_bytes=1000):
    return in_order(work, items, at_once=3, ahead=ahead, ahead_bytes=ahead_bytes)


def test_results_come_in_the_order_of_the_items_though_later_ones_are_ready_first():
    def work(number):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return Result(number)

    assert [each.number for each in run(work, range(30))] == list(range(30))


def test_so_many_are_worked_on_at_once_and_so_many_ahead():
    begun, together, counting = [], [], threading.Lock()

    def work(number):
        with counting:
            begun.append(number)
            together.append(1)
        time.sleep(0.005)
        with counting:
            together.append(-1)
        return Result(number)

    results = run(work, range(100))
    assert next(results).number == 0
    time.sleep(0.2)
    assert len(begun) == 8
    at_once = [sum(together[:end]) for end in range(len(together) + 1)]
    assert max(at_once) <= 3
    results.close()


def test_finished_results_that_fill_the_room_keep_others_from_beginning():
    begun = []

    def work(number):
        begun.append(number)
        return Result(number, size=600)

    results = run(work, range(100), ahead=50)
    next(results)
    time.sleep(0.2)
    assert 3 <= len(begun) <= 6
    assert [each.number for each in results] == list(range(1, 100))


def test_what_fails_is_raised_in_its_place():
    def work(number):
        if number == 5:
            raise TimeoutError
        return Result(number)

    results, got = run(work, range(10)), []
    with pytest.raises(TimeoutError):  # noqa: PT012 — the results before it count
        for each in results:
            got.append(each.number)
    assert got == [0, 1, 2, 3, 4]


def test_nothing_runs_on_once_the_consumer_leaves():
    begun = []

    def work(number):
        begun.append(number)
        return Result(number, size=10_000)

    results = run(work, range(1000), ahead=100)
    next(results)
    results.close()
    time.sleep(0.1)
    known = len(begun)
    time.sleep(0.1)
    assert len(begun) == known < 20
