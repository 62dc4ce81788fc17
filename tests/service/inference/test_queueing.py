from hypothesis import given
from hypothesis import strategies as st

from service.inference.queueing import (
    BULK_TURN,
    even_share,
    fill_batch,
    retry_after,
    smoothed,
    worth_holding,
)

COUNT = st.integers(0, 300)


@given(searches=COUNT, bulk=COUNT, limit=st.integers(1, 64), call=st.integers(1, 100))
def test_a_batch_is_as_full_as_it_can_be_and_takes_no_more_than_waits(searches, bulk, limit, call):
    first, then = fill_batch(searches, bulk, limit, call)
    assert 0 <= first <= searches
    assert 0 <= then <= bulk
    assert first + then == min(limit, searches + bulk)


@given(searches=COUNT, bulk=COUNT, limit=st.integers(1, 64), call=st.integers(1, 100))
def test_bulk_work_waits_for_searches_except_when_it_is_its_turn(searches, bulk, limit, call):
    first, then = fill_batch(searches, bulk, limit, call)
    if call % BULK_TURN:
        assert first == min(searches, limit)
    else:
        assert then == min(bulk, limit)


@given(waiting=st.integers(1, 300), calls=st.integers(1, 16), limit=st.integers(1, 64))
def test_workers_share_what_waits_and_leave_none_idle(waiting, calls, limit):
    taken, left = [], waiting
    for _ in range(calls):
        taken.append(min(left, even_share(left, calls - len(taken), limit)))
        left -= taken[-1]
    assert left == 0 or all(count == limit for count in taken)
    assert max(taken) - min(taken) <= 1


def test_holding_pays_while_those_who_wait_lose_less_than_a_call():
    assert worth_holding(1, gap_s=0.01, call_s=0.05)
    assert not worth_holding(5, gap_s=0.01, call_s=0.05)
    assert not worth_holding(1, gap_s=1.0, call_s=0.05)


def test_the_time_to_come_again_is_that_of_the_queue_to_drain():
    assert retry_after(100, 0.05) == 5
    assert retry_after(0, 0.05) == 1


def test_a_smoothed_mean_ends_at_what_it_is_given():
    mean = 1.0
    for _ in range(100):
        mean = smoothed(mean, 3.0)
    assert abs(mean - 3) < 1e-6
