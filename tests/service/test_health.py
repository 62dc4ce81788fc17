"""The parts of the service are asked in the background, and a part that hangs delays nobody."""

import asyncio
import threading
import time

import pytest

from service import health
from service.errors import StoreUnavailable
from service.health import READY, Health, Part, State, watching
from service.telemetry import REGISTRY


def states(*parts):
    return asyncio.run(Health(parts).states())


def fails():
    raise StoreUnavailable("The store is away. Start it.")


def test_a_part_that_works_and_one_that_does_not_are_told_apart():
    found = states(Part("a", lambda: READY), Part("b", fails))
    assert found["a"] == State(READY, good=True)
    assert found["b"] == State("The store is away. Start it.", good=False)


def test_a_part_may_work_and_have_something_to_say():
    assert states(Part("disk", lambda: "read-only"))["disk"] == State("read-only", good=True)


def test_an_error_of_no_known_type_shows_its_class_alone():
    def broken():
        raise KeyError("DOE^JANE")

    assert states(Part("a", broken))["a"].text == "failed (KeyError); restart the server"


def test_a_part_that_hangs_delays_no_question_and_soon_counts_as_failing(monkeypatch):
    gone_on = threading.Event()
    slow = Part("slow", lambda: gone_on.wait(60) and READY)
    quick = Part("quick", lambda: READY)
    first = states(slow, quick)
    assert first["quick"].good
    assert not first["slow"].good
    monkeypatch.setattr(health, "STUCK_S", 0.0)
    assert "has not answered" in states(slow, quick)["slow"].text
    assert [t.name for t in threading.enumerate()].count("probe-slow") == 1
    gone_on.set()


def test_a_part_is_not_asked_for_more_than_its_share_of_the_time(monkeypatch):
    monkeypatch.setattr(health, "_SAVED_S", 0.02)
    asked = []

    def ask():
        asked.append(1)
        time.sleep(0.05)
        return READY

    part = Part("a", ask)
    part._saved = 0.02
    for _ in range(5):
        states(part)
    assert len(asked) == 1
    part.doubt()
    states(part)
    assert len(asked) == 2


def test_a_part_for_the_background_is_asked_in_rounds_only():
    asked = []
    part = Part("model", lambda: asked.append(1) or READY, on_request=False)
    states(part)
    assert not asked
    with watching([part]):
        assert asked
        assert part.state.good


def test_a_part_is_logged_when_it_changes_and_not_each_time(monkeypatch):
    lines = []

    class Log:
        def warning(self, event, **values):
            lines.append((event, values["part"]))

        info = warning

    monkeypatch.setattr(health, "log", Log)
    free = iter(["9 MiB", "8 MiB", READY, READY])
    part = Part("disk", lambda: next(free))
    for _ in range(4):
        states(part)
    assert lines == [("not ready", "disk"), ("ready again", "disk")]


@pytest.mark.parametrize("good", [True, False])
def test_the_metrics_show_which_parts_work(good):
    with watching([Part("tested", (lambda: READY) if good else fails)]):
        assert REGISTRY.get_sample_value("eclip_part_ready", {"part": "tested"}) == good
