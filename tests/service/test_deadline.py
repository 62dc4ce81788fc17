import pytest

from service.deadline import Deadline
from service.errors import DeadlineExceeded


@pytest.fixture
def clock(monkeypatch):
    """The seconds on the clock, which a test moves."""
    now = [100.0]
    monkeypatch.setattr("service.deadline.time.monotonic", lambda: now[0])
    return now


def test_a_deadline_counts_down_to_zero(clock):
    deadline = Deadline(30)
    assert deadline.remaining == 30
    clock[0] += 20
    assert deadline.remaining == 10
    deadline.check()
    clock[0] += 20
    assert deadline.remaining == 0
    with pytest.raises(DeadlineExceeded, match="Send fewer items"):
        deadline.check()


def test_a_client_that_leaves_ends_the_deadline():
    deadline = Deadline(30)
    deadline.cancel()
    assert deadline.remaining == 0
    with pytest.raises(DeadlineExceeded):
        deadline.check()


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("seconds", "remaining"), [(5, 5), (50, 30)])
def test_a_step_is_never_longer_than_its_request(seconds, remaining):
    assert Deadline(30).within(seconds).remaining == remaining


def test_a_step_ends_with_its_request_and_keeps_its_items(clock):
    deadline = Deadline(30, items=7, bulk=True)
    deadline.admitted = True
    step = deadline.within(5)
    assert (step.items, step.bulk, step.admitted) == (7, True, True)
    clock[0] += 6
    assert (step.remaining, deadline.remaining) == (0, 24)
    next_step = deadline.within(5)
    deadline.cancel()
    assert next_step.remaining == 0


def test_what_waits_is_ended_when_the_client_leaves_and_only_while_it_waits():
    deadline, ended = Deadline(60), []
    with deadline.ending(lambda: ended.append("done before")):
        pass
    with deadline.within(1).ending(lambda: ended.append("waits")):
        deadline.cancel()
    with deadline.ending(lambda: ended.append("late")):
        assert ended == ["waits", "late"]
