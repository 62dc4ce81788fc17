"""The memory that requests hold and that decoding takes is bounded, and shared fairly."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.deadline import Deadline
from service.errors import BodyTooLarge, DeadlineExceeded, ImageTooLarge, MemoryShort, QueueFull
from service.memory import DecodingMemory, RequestMemory, require


def test_a_request_alone_may_hold_all_and_never_more():
    memory = RequestMemory(100)
    held = memory.request()
    held.add(60)
    held.add(40)
    with pytest.raises(BodyTooLarge, match="ECLIP_MEMORY_BYTES"):
        held.add(1)
    assert memory.taken == held.bytes == 100


def test_large_requests_leave_room_for_small_ones():
    memory = RequestMemory(100)
    large = [memory.request() for _ in range(4)]
    for held in large[:2]:
        held.add(30)
    with pytest.raises(QueueFull) as full:
        large[2].add(30)
    assert full.value.retry_after_s >= 1
    assert large[2].bytes == 0
    for _ in range(20):
        memory.request().add(1)
    large[0].keep(0)
    large[2].add(20)
    assert memory.taken == 70


def test_what_shrinks_is_never_refused():
    memory = RequestMemory(100)
    first, second = memory.request(), memory.request()
    first.add(90)
    second.add(5)
    first.keep(80)
    first.add(-20)
    assert memory.taken == 65


def test_images_wait_in_turn_for_room():
    memory, order, first_done = DecodingMemory(100), [], threading.Event()

    def decode(name, size, done=None):
        with memory.turn(Deadline(30)) as reserve:
            order.append(f"{name} header")
            reserve(size)
            order.append(f"{name} pixels")
            if done is not None:
                assert done.wait(10)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(decode, "first", 60, first_done)
        wait_for(lambda: "first pixels" in order)
        second = pool.submit(decode, "second", 60)
        wait_for(lambda: "second header" in order)
        third = pool.submit(decode, "third", 1)
        assert not third.done()
        first_done.set()
        for each in (first, second, third):
            each.result(10)
    names = [each for each in order if each.startswith(("second", "third"))]
    assert names == ["second header", "second pixels", "third header", "third pixels"]


def wait_for(condition, seconds=10):
    woken = threading.Event()
    for _ in range(seconds * 100):
        if condition():
            return
        woken.wait(0.01)
    raise AssertionError("it did not come about")


def test_images_of_searches_go_before_those_of_bulk_work():
    memory, order, first_done = DecodingMemory(100), [], threading.Event()

    def decode(name, size, done=None):
        with memory.turn(Deadline(30, bulk=name.startswith("bulk"))) as reserve:
            order.append(f"{name} header")
            reserve(size)
            order.append(name)
            if done is not None:
                assert done.wait(10)

    with ThreadPoolExecutor() as pool:
        bulk = [pool.submit(decode, "bulk", 60, first_done)]
        wait_for(lambda: "bulk" in order)
        bulk.append(pool.submit(decode, "bulk that waits", 60))
        wait_for(lambda: "bulk that waits header" in order)
        pool.submit(decode, "small search", 30).result(10)
        large = pool.submit(decode, "large search", 100)
        wait_for(lambda: "large search header" in order)
        first_done.set()
        for each in (*bulk, large):
            each.result(10)
    assert [name for name in order if "header" not in name] == [
        "bulk", "small search", "large search", "bulk that waits"
    ]  # fmt: skip


def test_an_image_that_fails_before_it_reserves_gives_its_turn_back():
    memory = DecodingMemory(100)
    for _ in range(3):
        with pytest.raises(ValueError, match="damaged"), memory.turn(Deadline(1)):
            raise ValueError("damaged")
    with memory.turn(Deadline(1)) as reserve:
        reserve(100)


def test_an_image_for_which_there_can_never_be_room_is_refused():
    memory = DecodingMemory(100)
    with pytest.raises(ImageTooLarge, match="ECLIP_MEMORY_BYTES"), memory.turn(Deadline(1)) as take:
        take(101)
    with memory.turn(Deadline(1)) as take:
        take(100)


def test_waiting_ends_with_the_deadline_or_the_client():
    memory = DecodingMemory(100)
    with memory.turn(Deadline(30)) as reserve:
        reserve(60)
        with pytest.raises(DeadlineExceeded), memory.turn(Deadline(0.05)) as other:
            other(60)
        leaving = Deadline(30)

        def wait():
            with memory.turn(leaving) as other:
                other(60)

        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(wait)
            leaving.cancel()
            with pytest.raises(DeadlineExceeded):
                waiting.result(10)
        with memory.turn(Deadline(1)) as other:
            other(40)


def test_more_memory_than_the_system_has_is_a_typed_error():
    require(0)
    require(2**20)
    with pytest.raises(MemoryShort) as shortage:
        require(2**62)
    assert shortage.value.status == 503
    assert shortage.value.retry_after_s >= 1
