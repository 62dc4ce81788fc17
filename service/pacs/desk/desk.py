"""Takes received radiographs in, and makes of each study a draft report that is sent back.

A received file waits in the inbox, on the disk and encrypted, until its study has a result in the
outbox or an outcome without one. After a crash the inbox is read again. So what was acknowledged is
not lost, and no result is made twice: a result names the files that it was made from.
"""

import threading
import time
from collections.abc import Callable

from service.deadline import Deadline
from service.errors import EclipError, ImageUndecodable, ObjectDamaged, StoreFull, StoreUnavailable
from service.logs import failure
from service.memory import short
from service.pacs.desk.answered import Answered
from service.pacs.desk.drafting import TRANSIENT, Drafted, Drafting, NotDrafted
from service.pacs.desk.grouping import Group, Groups
from service.pacs.desk.outbox import Outbox
from service.pacs.desk.outcomes import Ending, Outcome, Outcomes
from service.pacs.desk.received import read_received
from service.pacs.desk.results import Result, last_names
from service.pacs.receive.spool import Spool
from service.telemetry import PACS_STUDIES, log

AT_ONCE = 2
"""Studies that are read at a time."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0
"""Seconds after the first fault of this service, which double with each one, and the most of them.
"""
PATIENCE_S = 24 * 3600.0
"""Seconds for which a study is tried again after faults of this service."""
_DEFECTS = 3
"""Tries that an unexpected error ends."""
_JOIN_S = 30.0
"""Seconds that the end of the service waits for the studies that are being read."""

MakeResults = Callable[[str, Drafted], list[Result]]
"""Plain StudyInstanceUID, draft → its results, one for each peer."""


class Desk:
    """The way from a received file to a result. Thread-safe.

    It is an `Intake` (service/pacs/intake.py). Constructing it reads the inbox again.

    quiet_s: seconds without a new object after which a study is complete.
    """

    def __init__(
        self,
        inbox: Spool,
        outbox: Outbox,
        drafting: Drafting,
        make_results: MakeResults,
        outcomes: Outcomes,
        answered: Answered,
        quiet_s: float,
    ) -> None:
        self._inbox, self._outbox, self._outcomes = inbox, outbox, outcomes
        self._drafting, self._make_results = drafting, make_results
        self._changed, self._ended = threading.Condition(), False
        self._groups, self._answered = Groups(quiet_s), answered
        self._deadlines: set[Deadline] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"desk-{number}", daemon=True)
            for number in range(AT_ONCE)
        ]
        self._read_again()

    def start(self) -> None:
        """Begins to read studies."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stops. Studies that are being read are read again after the next start."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            for deadline in self._deadlines:
                deadline.cancel()
        end = time.monotonic() + _JOIN_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))

    @property
    def full(self) -> bool:
        """Whether nothing more fits now, so that no association should be accepted."""
        return self._inbox.full or self._outbox.full

    def take(self, file: bytes) -> None:
        """Keeps a DICOM file. It is on the disk, encrypted, once this returns.

        Raises StoreFull where nothing fits, StoreUnavailable where the disk fails, and
        ImageUndecodable for what is no DICOM file of a study.
        """
        received = read_received(file)
        name = self._inbox.keep(file)
        with self._changed:
            now = time.monotonic()
            self._groups.add(name, received.study_uid, received.instance_uid, now)
            PACS_STUDIES.set(len(self._groups))
            self._changed.notify()

    @property
    def alive(self) -> bool:
        """Whether every thread lives."""
        return all(thread.is_alive() for thread in self._threads)

    def _read_again(self) -> None:
        """Groups what waits in the inbox, but for the files that have their result already."""
        self._inbox.drop(self._outbox.made_from)
        for name in self._inbox.names():
            try:
                received = read_received(self._inbox.read(name))
            except (ObjectDamaged, ImageUndecodable) as error:  # the spool sets aside and counts
                log().error("received object lost", error=error.type)
                continue
            now = time.monotonic()
            self._groups.add(name, received.study_uid, received.instance_uid, now)
        PACS_STUDIES.set(len(self._groups))

    def _work(self) -> None:
        while (group := self._next()) is not None:
            deadline = self._deadline(group)
            try:
                self._finish(group, deadline)
            except EclipError as error:
                self._again(group, error)
            except MemoryError:
                self._again(group, short())
            except Exception as error:  # a defect must not end the thread
                log().error("study not read", **failure(error))
                self._again(group, error)
            finally:
                with self._changed:
                    self._deadlines.discard(deadline)

    def _next(self) -> Group | None:
        """Waits for a study that is due, and returns it; None at the end of the service."""
        with self._changed:
            while not self._ended:
                if (group := self._groups.take(time.monotonic())) is not None:
                    self._changed.notify()  # another thread waits for the next one
                    return group
                self._changed.wait(self._groups.wait_s(time.monotonic()))
        return None

    def _deadline(self, group: Group) -> Deadline:
        settings = self._drafting.settings
        seconds = len(group.latest) * settings.deadline_s + settings.report_s
        deadline = Deadline(seconds, bulk=True)
        with self._changed:
            self._deadlines.add(deadline)
            if self._ended:
                deadline.cancel()
        return deadline

    def _finish(self, group: Group, deadline: Deadline) -> None:
        """Makes the result of a study and drops its files. Raises what hinders that."""
        if self._answered.has_more_than(group.study_uid, group.latest):
            self._end(group, Outcome(group.study_uid, "repeated", images=len(group.latest)))
            return
        if self._outbox.full:
            raise StoreFull("Drafts that wait to be sent take all their room on the disk.")
        names = tuple(group.latest.values())
        made = self._drafting.draft(group.study_uid, names, self._inbox.read, deadline)
        if isinstance(made, NotDrafted):
            self._end(group, _undrafted(group, made))
        elif results := self._make_results(group.study_uid, made):
            held = self._outbox.hold(last_names(results, group.names))
            self._remember(group)
            self._inbox.drop(group.names)
            self._outbox.release(held)
            self._forget(group)
        else:
            record, images = made.report.provenance.record, len(made.images)
            self._end(group, Outcome(group.study_uid, "recorded", images=images, record=record))

    def _remember(self, group: Group) -> None:
        """Remembers the images that had a draft, but not those whose file was damaged."""
        kept = set(self._inbox.names())
        try:
            images = [uid for uid, name in group.latest.items() if name in kept]
            self._answered.add(group.study_uid, images)
        except StoreUnavailable as error:  # it costs a draft too many at most
            log().error("images of a draft not remembered", error=error.type)

    def _end(self, group: Group, outcome: Outcome) -> None:
        self._outcomes.write(outcome)
        self._inbox.drop(group.names)
        self._forget(group)

    def _forget(self, group: Group) -> None:
        with self._changed:
            self._groups.done(group)
            PACS_STUDIES.set(len(self._groups))
            self._changed.notify()

    def _again(self, group: Group, error: Exception) -> None:
        """Has a study read again later, or ends it once that was tried for long enough."""
        now, transient = time.monotonic(), isinstance(error, TRANSIENT)
        group.tries += 1
        group.tried_since = group.tried_since or now
        ours = transient or not isinstance(error, EclipError)
        too_often = not transient and group.tries >= _DEFECTS
        over = not ours or too_often or now - group.tried_since >= PATIENCE_S
        if over and not self._ended:
            try:
                self._end(group, _failed(group, error, "failed" if ours else "rejected"))
                return
            except Exception as unwritten:  # a defect must not end the thread
                log().error("outcome not written", **failure(unwritten))
        wait_s = min(_FIRST_WAIT_S * 2.0 ** min(group.tries - 1, 20), _LONGEST_WAIT_S)
        with self._changed:
            if isinstance(error, EclipError) and not self._ended:
                log().warning("study waits", error=error.type, seconds=round(wait_s))
            self._groups.again(group, now, wait_s)
            self._changed.notify()


def _undrafted(group: Group, made: NotDrafted) -> Outcome:
    """Returns the outcome of a study without a usable image."""
    error, images = made.error, len(group.latest)
    if error is None:
        return Outcome(group.study_uid, "left-out", images=images, rule=made.rule)
    return Outcome(group.study_uid, "rejected", images=images, rule=made.rule, error=error.type)


def _failed(group: Group, error: Exception, ending: Ending) -> Outcome:
    kind = error.type if isinstance(error, EclipError) else type(error).__name__
    return Outcome(group.study_uid, ending, images=len(group.latest), error=kind)
