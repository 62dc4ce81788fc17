import pytest

from service.access.brake import ADDRESSES, FREE, PAUSE_S, Brake
from service.errors import TooManyWrongKeys


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def brake(clock):
    return Brake(clock)


def braked(brake, address):
    try:
        brake.count(address)
    except TooManyWrongKeys as refused:
        return refused.retry_after_s == PAUSE_S
    return False


def test_wrong_keys_of_one_address_are_refused_until_it_pauses(brake, clock):
    assert [braked(brake, "192.0.2.1") for _ in range(FREE + 2)] == [False] * FREE + [True] * 2
    assert not braked(brake, "192.0.2.2")
    clock.now = PAUSE_S - 1
    assert braked(brake, "192.0.2.1")
    clock.now += PAUSE_S + 1
    assert not braked(brake, "192.0.2.1")


def test_addresses_that_one_caller_can_choose_count_as_one(brake):
    for last in range(FREE):
        assert not braked(brake, f"2001:db8::{last:x}")
    assert braked(brake, "2001:db8::ffff:1")
    assert not braked(brake, "2001:db8:0:1::1")
    for _ in range(FREE):
        brake.count("::ffff:192.0.2.9")
    assert braked(brake, "192.0.2.9")
    assert not braked(brake, "")


def test_memory_is_bounded_however_many_addresses_ask(brake):
    for number in range(3 * ADDRESSES):
        brake.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(brake._wrong) == ADDRESSES
