"""Sends results to a PACS and to a FHIR server, and tries again while these do not take them.

Results wait on the disk, encrypted, across restarts. Each peer has a thread of its own, so that one
that hangs holds up neither the other nor what is received. A result is sent at least once: after a
crash the peer can get it again, under the same UID.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.errors import (
    EclipError,
    ObjectDamaged,
    PeerRefused,
    PeerUnavailable,
    StoreUnavailable,
)
from service.logs import failure
from service.pacs.desk.outcomes import Ending, Outcome, Outcomes, Peer
from service.pacs.desk.results import Result
from service.pacs.receive.spool import Spool
from service.telemetry import PACS_RESULTS, log

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0
"""Seconds after the first failure to send, which double with each one, and the most of them."""
_JOIN_S = 5.0
"""Seconds that the end of the service waits for a peer that hangs."""


class StudyGone(PeerUnavailable):
    """The PACS does not have the study of a result: not yet, or not any more."""


class Recipient(Protocol):
    """Who gets results."""

    def send(self, result: Result) -> None:
        """Returns once the peer has the result.

        Raises PeerUnavailable where trying again may help, PeerRefused where it would not.
        """
        ...


@dataclass(slots=True)
class _Waiting:
    """A result on the disk.

    next_at: when to send it, over_at: when to give it up, both by the clock that is never set.
    """

    name: str
    key: tuple[Peer, str]
    over_at: float
    released: bool = True
    tries: int = 0
    next_at: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the result was sent again for long enough."""
        return time.monotonic() >= self.over_at


class Outbox:
    """The results that wait. Thread-safe. `start` begins to send, `close` ends it.

    recipients: of each peer. wait_s: seconds for which a result is sent again.
    """

    def __init__(
        self,
        spool: Spool,
        recipients: Mapping[Peer, Recipient],
        outcomes: Outcomes,
        wait_s: float,
    ) -> None:
        self._spool, self._recipients, self._outcomes = spool, recipients, outcomes
        self._wait_s = wait_s
        self._changed, self._ended = threading.Condition(), False
        self._waiting: dict[str, _Waiting] = {}
        self._threads = [
            threading.Thread(target=self._send_all, args=(peer,), name=f"to-{peer}", daemon=True)
            for peer in recipients
        ]
        self.made_from = frozenset(list(self._found()))
        """Names of received files whose results were found on the disk."""

    def start(self) -> None:
        """Begins to send what waits."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stops sending. What waits is sent after the next start."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_JOIN_S)

    def hold(self, results: Iterable[Result]) -> list[str]:
        """Keeps results and returns their names. None is sent before `release`.

        A result of a key that waits already is not kept again. Raises StoreFull, StoreUnavailable.
        """
        return [self._hold(result) for result in results]

    def release(self, names: Iterable[str]) -> None:
        """Lets held results be sent."""
        with self._changed:
            for name in names:
                if name in self._waiting:
                    self._waiting[name].released = True
            self._changed.notify_all()

    @property
    def full(self) -> bool:
        """Whether no result fits."""
        return self._spool.full

    @property
    def failing(self) -> int:
        """Number of results that a peer has not taken at the last try."""
        with self._changed:
            return sum(waiting.tries > 0 for waiting in self._waiting.values())

    @property
    def alive(self) -> bool:
        """Whether every thread lives."""
        return all(thread.is_alive() for thread in self._threads)

    def _found(self) -> Iterable[str]:
        """Reads what waits on the disk, and yields the files that results were made from."""
        for name in self._spool.names():
            try:
                result = Result.unpacked(self._spool.read(name))
            except ObjectDamaged as error:
                log().error("result lost", error=error.type)
                continue
            yield from result.made_from
            self._waiting[name] = waiting = self._new(name, result)
            if result.to not in self._recipients and waiting.is_over:
                self._end(waiting, result, "unavailable")
        self._count()

    def _hold(self, result: Result) -> str:
        key = (result.to, result.key)
        with self._changed:
            for waiting in self._waiting.values():
                if waiting.key == key:
                    return waiting.name
        name = self._spool.keep(result.packed())
        with self._changed:
            self._waiting[name] = waiting = self._new(name, result)
            waiting.released = False
            self._count()
        return name

    def _send_all(self, peer: Peer) -> None:
        while (waiting := self._next(peer)) is not None:
            try:
                self._try(waiting)
            except StoreUnavailable as error:
                self._later(waiting, error)
            except Exception as error:  # a defect must not end the thread
                log().error("result not sent", **failure(error))
                self._later(waiting, None)

    def _next(self, peer: Peer) -> _Waiting | None:
        """Waits for a result that is due, and returns it; None at the end of the service."""
        with self._changed:
            while not self._ended:
                mine = (each for each in self._waiting.values() if each.key[0] == peer)
                ready = [each for each in mine if each.released]
                first = min(ready, key=lambda each: each.next_at, default=None)
                wait_s = None if first is None else first.next_at - time.monotonic()
                if first is not None and first.next_at <= time.monotonic():
                    return first
                self._changed.wait(wait_s)
        return None

    def _try(self, waiting: _Waiting) -> None:
        """Sends a result. Raises StoreUnavailable where it cannot be read, or its end recorded."""
        try:
            result = Result.unpacked(self._spool.read(waiting.name))
        except ObjectDamaged as error:
            log().error("result lost", error=error.type)
            self._forget(waiting)
            return
        try:
            self._recipients[result.to].send(result)
        except PeerRefused as error:
            self._end(waiting, result, "refused", error)
        except PeerUnavailable as error:
            if waiting.is_over:
                gone = isinstance(error, StudyGone)
                self._end(waiting, result, "study-gone" if gone else "unavailable", error)
            else:
                self._later(waiting, error)
        else:
            self._end(waiting, result, "sent")

    def _new(self, name: str, result: Result) -> _Waiting:
        """Returns a result that waits. Its age is asked for once: a clock that is set adds none."""
        age = max(0.0, time.time() - result.written)
        return _Waiting(name, (result.to, result.key), time.monotonic() + self._wait_s - age)

    def _end(
        self, waiting: _Waiting, result: Result, ending: Ending, error: EclipError | None = None
    ) -> None:
        self._outcomes.write(
            Outcome(
                result.study_uid,
                ending,
                to=result.to,
                images=result.images,
                record=result.record,
                result_uid=result.result_uid,
                error=None if error is None else error.type,
            )
        )
        self._spool.drop([waiting.name])
        self._forget(waiting)

    def _forget(self, waiting: _Waiting) -> None:
        with self._changed:
            self._waiting.pop(waiting.name, None)
            self._count()

    def _later(self, waiting: _Waiting, error: EclipError | None) -> None:
        asked = (error and error.retry_after_s) or 0.0
        growing = _FIRST_WAIT_S * 2.0 ** min(waiting.tries, 20)
        if waiting.tries == 0:
            log().warning("result waits", to=waiting.key[0], error=str(error) if error else None)
        with self._changed:
            waiting.tries += 1
            waiting.next_at = time.monotonic() + min(max(growing, asked), _LONGEST_WAIT_S)

    def _count(self) -> None:
        for peer in {*self._recipients, *(waiting.key[0] for waiting in self._waiting.values())}:
            waiting = sum(each.key[0] == peer for each in self._waiting.values())
            PACS_RESULTS.labels(peer).set(waiting)
