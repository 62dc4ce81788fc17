from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.deadline import Deadline
from service.errors import QueueFull
from service.inference.admission import Admission


def admission(places=8, seconds_per_item=0.5):
    return Admission(places, lambda: seconds_per_item)


def test_a_full_house_turns_the_next_away_until_as_long_as_it_drains():
    door = admission()
    with ExitStack() as inside:
        for _ in range(7):
            inside.enter_context(door.hold(Deadline(30)))
        with (
            pytest.raises(QueueFull, match="7 of 8 places") as full,
            door.hold(Deadline(30, items=2)),
        ):
            pass
        assert full.value.retry_after_s == 4
        inside.enter_context(door.hold(Deadline(30)))
    with door.hold(Deadline(30, items=4)), door.hold(Deadline(30, items=4)):
        pass


def test_who_was_let_in_is_not_turned_away_at_a_later_step():
    door, early = admission(places=1), Deadline(30)
    with door.hold(early):
        pass
    with door.hold(Deadline(30)), door.hold(early):
        pass


def test_a_request_larger_than_the_house_takes_half_of_it():
    door = admission()
    with (
        door.hold(Deadline(30, items=1000)),
        door.hold(Deadline(30, items=1000)),
        pytest.raises(QueueFull),
        door.hold(Deadline(30)),
    ):
        pass


def test_bulk_work_leaves_a_quarter_of_the_house_to_others():
    door = admission(places=16)
    with ExitStack() as inside:
        for _ in range(6):
            inside.enter_context(door.hold(Deadline(30, items=256, bulk=True)))
        with (
            pytest.raises(QueueFull, match="12 of 12 places for bulk work"),
            door.hold(Deadline(30, bulk=True)),
        ):
            pass
        for _ in range(4):
            inside.enter_context(door.hold(Deadline(30)))
        with pytest.raises(QueueFull, match="16 of 16 places"), door.hold(Deadline(30)):
            pass


@given(items=st.lists(st.integers(1, 20), max_size=30), places=st.integers(1, 10))
def test_no_more_are_inside_than_there_are_places_and_all_places_are_given_back(items, places):
    door, taken = admission(places), 0
    with ExitStack() as inside:
        for count in items:
            try:
                inside.enter_context(door.hold(Deadline(30, items=count)))
                taken += min(count, max(1, places // 2))
            except QueueFull:
                assert taken + min(count, max(1, places // 2)) > places
            assert taken <= places
    half = max(1, places // 2)
    with door.hold(Deadline(30, items=half)):
        pass
