"""Results are sent until a peer takes or refuses them, across restarts, and never too early."""

import dataclasses
import threading
import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from service.errors import PeerRefused, PeerUnavailable
from service.imaging.deidentify import Pseudonymiser
from service.pacs.desk import outbox as module
from service.pacs.desk.outbox import Outbox, StudyGone
from service.pacs.desk.outcomes import OutcomeLine, Outcomes
from service.pacs.desk.results import Result, last_names
from service.pacs.receive.spool import Spool

WAIT_S = 20
"""Seconds after which what is awaited counts as missing."""


class Peer:
    """A recipient that answers by a script, then takes everything."""

    def __init__(self, *script):
        self.script, self.got, self.asked = list(script), [], 0

    def send(self, result):
        self.asked += 1
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, threading.Event):
            answer.wait(WAIT_S)
        elif answer is not None:
            raise answer
        self.got.append(result.body)


def away(**hints):
    return PeerUnavailable("It does not answer.", **hints)


def result(number=1, to="pacs", **changes):
    body = b"DICM\n%d" % number
    made = Result(to, f"2.25.{number}", "1.2.3", time.time(), "2026-01-01-0f", 2, body)
    return dataclasses.replace(made, **changes)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 0.05)


@pytest.fixture
def opened(tmp_path):
    """Opens the outbox of one folder, as often as a test wants: `opened(pacs=Peer())`."""
    closing = []

    def close():
        while closing:
            closing.pop().close()

    def open_(wait_s=60, **peers):
        close()
        spool = Spool(tmp_path / "outbox", b"k" * 32, 2**24)
        outcomes = Outcomes(tmp_path / "pacs", Pseudonymiser(b"k" * 32))
        outbox = Outbox(spool, peers, outcomes, wait_s)
        closing.extend([spool, outbox])
        outbox.start()
        return outbox

    yield open_
    close()


@pytest.fixture
def endings(tmp_path):
    def wait_for(count=1):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            files = (tmp_path / "pacs").glob("*.jsonl")
            lines = [line for file in files for line in file.read_text().splitlines()]
            if len(lines) >= count:
                found = map(OutcomeLine.model_validate_json, lines)
                return [(line.outcome, line.to, line.error) for line in found]
            time.sleep(0.01)
        raise AssertionError("no outcome")

    return wait_for


def until(holds):
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_result_reads_back_as_it_was_packed():
    packed = result(body=b"\n\0DICM\n", made_from=("a", "b"))
    assert Result.unpacked(packed.packed()) == packed


def test_a_held_result_is_sent_only_once_it_is_released(opened, endings):
    peer = Peer()
    outbox = opened(pacs=peer)
    names = outbox.hold([result()])
    time.sleep(0.1)
    assert peer.asked == 0
    outbox.release(names)
    assert endings() == [("sent", "pacs", None)]
    assert peer.got == [b"DICM\n1"]


def test_a_peer_that_is_away_gets_the_result_later(opened, endings):
    peer = Peer(away(), away(retry_after_s=0.01), away())
    outbox = opened(pacs=peer)
    outbox.release(outbox.hold([result()]))
    assert endings() == [("sent", "pacs", None)]
    assert peer.asked == 4


def test_the_log_says_once_why_a_result_waits_and_then_what_became_of_it(opened, endings):
    gone = StudyGone("The PACS lacks it.")
    with capture_logs() as logs:
        outbox = opened(pacs=Peer(gone, gone))
        outbox.release(outbox.hold([result()]))
        endings()
        until(lambda: len(logs) >= 2)
    assert logs == [
        {
            "event": "result waits",
            "log_level": "warning",
            "to": "pacs",
            "error": "The PACS lacks it.",
        },
        {
            "event": "outcome",
            "log_level": "info",
            "outcome": "sent",
            "to": "pacs",
            "images": 2,
            "error": None,
        },
    ]


def test_a_refusal_ends_a_result_at_once(opened, endings):
    peer = Peer(PeerRefused("No."))
    outbox = opened(pacs=peer)
    outbox.release(outbox.hold([result()]))
    assert endings() == [("refused", "pacs", "peer/refused")]
    assert peer.asked == 1


@pytest.mark.parametrize(
    ("error", "ending"),
    [(away(), "unavailable"), (StudyGone("It is not there."), "study-gone")],
)
def test_after_the_time_of_the_setting_a_result_ends(opened, endings, error, ending):
    outbox = opened(wait_s=30, pacs=Peer(error))
    outbox.release(outbox.hold([result(written=time.time() - 40)]))
    assert endings() == [(ending, "pacs", "peer/unavailable")]


def test_a_clock_that_is_set_costs_no_result(opened, endings, monkeypatch):
    peer = Peer(away())
    outbox = opened(pacs=peer)
    names = outbox.hold([result()])
    clock = SimpleNamespace(time=lambda: time.time() + 10**6, monotonic=time.monotonic)
    monkeypatch.setattr(module, "time", clock)
    outbox.release(names)
    assert endings() == [("sent", "pacs", None)]


def test_a_restart_sends_what_waits_once_and_counts_the_time_from_the_first(opened, endings):
    outbox = opened(pacs=Peer(*[away()] * 10_000))
    outbox.release(outbox.hold([result(1), result(2)]))
    until(lambda: outbox.failing == 2)
    peer = Peer()
    opened(pacs=peer)
    assert endings(2) == [("sent", "pacs", None)] * 2
    assert sorted(peer.got) == [b"DICM\n1", b"DICM\n2"]
    again = Peer()
    opened(pacs=again)
    time.sleep(0.1)
    assert again.asked == 0


def test_a_defect_of_a_recipient_is_tried_again(opened, endings):
    outbox = opened(pacs=Peer(KeyError("x")))
    outbox.release(outbox.hold([result()]))
    assert endings() == [("sent", "pacs", None)]


def test_a_peer_that_hangs_holds_up_neither_the_other_nor_what_comes(opened, endings):
    released = threading.Event()
    fhir = Peer()
    outbox = opened(pacs=Peer(released), fhir=fhir)
    for number in range(3):
        outbox.release(outbox.hold([result(number), result(number, to="fhir")]))
    until(lambda: len(fhir.got) == 3)
    released.set()
    assert len(endings(6)) == 6


def test_the_same_result_waits_once(opened, endings):
    outbox = opened(pacs=Peer(away(), away()), fhir=Peer())
    first = outbox.hold([result()])
    assert outbox.hold([result(), result(to="fhir")])[0] == first[0]
    outbox.release(first)
    assert endings() == [("sent", "pacs", None)]


def test_a_restart_names_the_files_that_need_no_second_result(opened):
    outbox = opened(pacs=Peer(), fhir=Peer())
    outbox.hold(last_names([result(), result(to="fhir")], ["a", "b"]))
    assert opened().made_from == {"a", "b"}


def test_of_results_that_were_not_all_kept_the_files_are_needed(opened):
    outbox = opened(pacs=Peer(), fhir=Peer())
    outbox.hold(last_names([result(), result(to="fhir")], ["a", "b"])[:1])
    assert opened().made_from == frozenset()


def test_results_for_nobody_wait_as_long_as_others(opened, endings):
    outbox = opened(pacs=Peer())
    outbox.hold([result(1), result(2, written=time.time() - 100)])
    opened(wait_s=60)
    assert endings() == [("unavailable", "pacs", None)]
    peer = Peer()
    opened(pacs=peer)
    assert endings(2)[1] == ("sent", "pacs", None)
