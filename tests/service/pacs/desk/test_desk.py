"""A received study becomes one result, whatever is sent twice, fails for a while, or is killed."""

import threading
import time
from types import SimpleNamespace

import pytest

from service.errors import (
    DeadlineExceeded,
    ImageUndecodable,
    LlmUnavailable,
    ObjectDamaged,
    StoreFull,
    StoreUnavailable,
    StudyInvalid,
)
from service.imaging.deidentify import Pseudonymiser
from service.pacs.desk import desk as module
from service.pacs.desk.answered import Answered
from service.pacs.desk.desk import Desk
from service.pacs.desk.drafting import Drafted, NotDrafted
from service.pacs.desk.outbox import Outbox
from service.pacs.desk.outcomes import OutcomeLine, Outcomes
from service.pacs.desk.results import Result, last_names
from service.pacs.receive.spool import Spool
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

WAIT_S = 20
"""Seconds after which what is awaited counts as missing."""
KEY = b"k" * 32


def image(instance="1", study="9", **elements):
    ids = {"StudyInstanceUID": f"1.2.{study}", "SOPInstanceUID": f"1.3.{instance}"}
    return dicom_bytes(dicom_dataset(**ids, **elements))


def report():
    return SimpleNamespace(provenance=SimpleNamespace(record="2026-01-01-0f"))


class Drafts:
    """Drafts by a script, and then of every study; keeps what it was asked to draft."""

    settings = SimpleNamespace(deadline_s=30, report_s=30)

    def __init__(self, *script):
        self.script, self.asked = list(script), []

    def draft(self, study_uid, names, read, deadline):
        files = [read(name) for name in names]
        self.asked.append((study_uid, files))
        answer = self.script.pop(0) if self.script else Drafted(report(), [None] * len(files))
        if callable(answer):
            return answer(deadline)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Peer:
    def __init__(self):
        self.got = []

    def send(self, result):
        self.got.append((result.study_uid, result.key))


def one_result(study_uid, drafted):
    key = f"2.25.{study_uid.rpartition('.')[2]}"
    images = len(drafted.images)
    return [Result("pacs", key, study_uid, time.time(), "2026-01-01-0f", images, b"SR")]


def no_result(*_):
    return []


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 0.02)


@pytest.fixture
def opened(tmp_path):
    """Opens the desk of one folder, as often as a test wants; `desk.inbox` is its spool."""
    closing = []

    def close():
        while closing:
            closing.pop().close()

    def open_(drafts, make=one_result, *, quiet_s=0.05, limit=2**24, start=True):
        close()
        outcomes = Outcomes(tmp_path / "pacs", Pseudonymiser(KEY))
        inbox = Spool(tmp_path / "inbox", KEY, limit)
        kept = Spool(tmp_path / "outbox", KEY, 2**24)
        peer = Peer()
        outbox = Outbox(kept, {"pacs": peer}, outcomes, 60)
        answered = Answered(tmp_path / "answered.hashes", Pseudonymiser(KEY))
        desk = Desk(inbox, outbox, drafts, make, outcomes, answered, quiet_s)
        desk.inbox, desk.outbox, desk.peer = inbox, outbox, peer
        closing.extend([kept, inbox, outbox, desk])
        if start:
            outbox.start()
            desk.start()
        return desk

    open_.close = close
    yield open_
    close()


@pytest.fixture
def endings(tmp_path):
    def wait_for(count=1):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            files = (tmp_path / "pacs").glob("*.jsonl")
            found = [OutcomeLine.model_validate_json(x) for f in files for x in f.open()]
            if len(found) >= count:
                return found
            time.sleep(0.01)
        raise AssertionError("no outcome")

    return wait_for


def take_all(desk, files):
    for file in files:
        desk.take(file)


def until(holds):
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_study_that_is_quiet_has_one_result_and_its_files_are_dropped(opened, endings):
    desk = opened(drafts := Drafts(), quiet_s=0.3)
    files = [image("1"), image("2")]
    for file in files:
        desk.take(file)
    (line,) = endings()
    assert (line.outcome, line.images) == ("sent", 2)
    assert drafts.asked == [("1.2.9", files)]
    assert desk.peer.got == [("1.2.9", "2.25.9")]
    assert desk.inbox.names() == []


def test_the_same_instance_sent_twice_counts_once_and_its_last_version_counts(opened, endings):
    desk = opened(drafts := Drafts(), quiet_s=0.3)
    for file in (image("1", Modality="CR"), image("2"), image("1", Modality="DX")):
        desk.take(file)
    endings()
    assert drafts.asked == [("1.2.9", [image("2"), image("1", Modality="DX")])]
    assert desk.inbox.names() == []


@pytest.mark.parametrize(
    ("drafted", "ending", "rule", "error"),
    [
        (NotDrafted(rule="row 3"), "left-out", "row 3", None),
        (NotDrafted("row 3", ImageUndecodable("x")), "rejected", "row 3", "image/undecodable"),
    ],
)
def test_a_study_without_a_result_has_an_outcome(opened, endings, drafted, ending, rule, error):
    desk = opened(Drafts(drafted))
    desk.take(image())
    (line,) = endings()
    assert (line.outcome, line.rule, line.error) == (ending, rule, error)
    until(lambda: not desk.inbox.names())
    assert desk.peer.got == []


def test_without_anybody_to_send_to_the_report_is_recorded(opened, endings):
    desk = opened(Drafts(), no_result)
    desk.take(image())
    (line,) = endings()
    assert (line.outcome, line.record) == ("recorded", "2026-01-01-0f")


@pytest.mark.parametrize(
    "fault",
    [
        StoreUnavailable("x"),
        LlmUnavailable("x"),
        DeadlineExceeded("x"),
        MemoryError(),
        KeyError("x"),
    ],
)
def test_a_fault_of_our_own_costs_a_study_only_time(opened, endings, fault):
    desk = opened(Drafts(fault, fault))
    desk.take(image())
    assert endings()[0].outcome == "sent"


def test_a_defect_that_returns_ends_the_study(opened, endings):
    desk = opened(Drafts(*[KeyError("x")] * 3))
    desk.take(image())
    (line,) = endings()
    assert (line.outcome, line.error) == ("failed", "KeyError")
    until(lambda: not desk.inbox.names())


def test_images_of_which_no_result_can_be_made_are_rejected(opened, endings):
    def make(*_):
        raise StudyInvalid("Two patients.")

    desk = opened(drafts := Drafts(), make)
    desk.take(image())
    (line,) = endings()
    assert (line.outcome, line.error, len(drafts.asked)) == ("rejected", "study/invalid", 1)


def test_a_fault_that_does_not_pass_ends_the_study_after_a_day(opened, endings, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    desk = opened(Drafts(*[StoreUnavailable("x")] * 100))
    desk.take(image())
    (line,) = endings()
    assert (line.outcome, line.error) == ("failed", "store/unavailable")


def test_what_waited_is_read_again_after_a_restart(opened, endings):
    opened(Drafts(), start=False).take(image("1"))
    desk = opened(drafts := Drafts(), quiet_s=0.3)
    desk.take(image("2"))
    endings()
    assert drafts.asked == [("1.2.9", [image("1"), image("2")])]


def test_a_study_that_was_being_read_is_read_again(opened, endings):
    """The end of the service cancels the work, and nothing of the study is lost."""

    def hangs(deadline):
        while deadline.remaining:
            time.sleep(0.01)
        raise DeadlineExceeded("x")

    desk = opened(drafts := Drafts(hangs))
    desk.take(image())
    until(lambda: drafts.asked)
    opened(drafts)
    assert endings()[0].outcome == "sent"


def test_files_whose_result_was_kept_make_no_second_one(opened, endings):
    desk = opened(Drafts(), start=False)
    desk.take(image("1"))
    results = one_result("1.2.9", Drafted(report(), [None]))
    desk.outbox.hold(last_names(results, desk.inbox.names()))
    desk = opened(drafts := Drafts())
    assert endings()[0].outcome == "sent"
    assert desk.inbox.names() == []
    assert drafts.asked == []


def test_a_part_of_a_study_that_is_sent_again_has_no_draft_of_its_own(opened, endings):
    desk = opened(drafts := Drafts(), quiet_s=0.3)
    for sent, asked in ((["1", "2"], 1), (["2"], 1), (["1", "2"], 2), (["2", "3"], 3)):
        before = len(endings(0))
        for instance in sent:
            desk.take(image(instance))
        endings(before + 1)
        assert len(drafts.asked) == asked
    desk = opened(drafts := Drafts(), quiet_s=0.3)  # a restart
    desk.take(image("2"))
    endings(5)
    assert drafts.asked == []
    found = [line.outcome for line in endings()]
    assert found == ["sent", "repeated", "sent", "sent", "repeated"]


def test_an_image_whose_file_was_damaged_has_a_draft_once_it_is_sent_again(
    opened, endings, tmp_path
):
    def damaged(names, read):
        path = tmp_path / "inbox" / names[0]
        path.write_bytes(b"")
        with pytest.raises(ObjectDamaged):
            read(names[0])
        return Drafted(report(), [None])

    desk = opened(drafts := Drafts(), quiet_s=0.3)
    drafts.draft = lambda _, names, read, __: damaged(names, read)
    take_all(desk, [image("1"), image("2")])
    endings(1)
    del drafts.draft
    desk.take(image("1"))
    assert [line.outcome for line in endings(2)] == ["sent", "sent"]


def test_a_draft_is_sent_although_its_images_cannot_be_remembered(opened, endings, tmp_path):
    desk = opened(Drafts(), quiet_s=0.3)
    (tmp_path / "answered.hashes").mkdir()
    take_all(desk, [image("1"), image("2")])
    assert endings()[0].outcome == "sent"
    (tmp_path / "answered.hashes").rmdir()


def test_studies_come_apart(opened, endings):
    desk = opened(drafts := Drafts())
    desk.take(image("1", study="8"))
    desk.take(image("2", study="9"))
    endings(2)
    assert sorted(study for study, _ in drafts.asked) == ["1.2.8", "1.2.9"]


def test_a_study_that_takes_long_holds_up_no_other(opened, endings):
    gone_on = threading.Event()

    def slow(_):
        gone_on.wait(WAIT_S)
        return Drafted(report(), [None])

    desk = opened(Drafts(slow), quiet_s=0.2)
    desk.take(image("1", study="8"))
    time.sleep(0.05)
    desk.take(image("2", study="9"))
    until(lambda: desk.peer.got == [("1.2.9", "2.25.9")])
    gone_on.set()
    assert len(endings(2)) == 2


def test_beyond_the_limit_nothing_is_taken(opened):
    desk = opened(Drafts(), limit=2**18, quiet_s=60)
    with pytest.raises(StoreFull):
        take_all(desk, map(image, "123456789"))
    assert desk.full


def test_no_draft_is_made_that_has_no_room_on_the_disk(opened, endings, monkeypatch):
    desk = opened(drafts := Drafts(), start=False)
    with monkeypatch.context() as filled:
        filled.setattr(desk.outbox._spool, "_held", 2**24)
        desk.start()
        desk.take(image())
        until(lambda: any(group.tries for group in desk._groups._waiting.values()))
        assert drafts.asked == []
    desk.outbox.start()
    assert endings()[0].outcome == "sent"


def test_what_is_no_object_of_a_study_is_not_taken(opened):
    desk = opened(Drafts())
    with pytest.raises(ImageUndecodable):
        desk.take(b"no DICOM")
    assert desk.inbox.names() == []


def test_an_object_that_is_damaged_on_the_disk_is_set_aside(opened, endings, tmp_path):
    desk = opened(Drafts(), start=False)
    for instance in "12":
        desk.take(image(instance))
    first = tmp_path / "inbox" / desk.inbox.names()[0]
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    desk = opened(drafts := Drafts())
    assert endings()[0].outcome == "sent"
    assert drafts.asked == [("1.2.9", [image("2")])]
    assert desk.inbox.damaged == 1
    with pytest.raises(ObjectDamaged):
        desk.inbox.read(first.name)
