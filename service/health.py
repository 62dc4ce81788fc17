"""Asks the service's parts from time to time whether they work, and remembers their answers.

A part is asked in a thread of its own, at most once at a time, and for a small share of the time.
So a question whether the service is ready is answered at once, even if a part hangs.
"""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import EclipError
from service.telemetry import PART_READY, log

READY = "ready"
PERIOD_S = 10.0
"""Seconds between two rounds in which every part is asked."""
PATIENCE_S = 0.5
"""Seconds that a question waits for parts that are being asked. Later it gets the last answers."""
STUCK_S = 5.0
"""Seconds after which a part that has not answered counts as failing."""
_START_S = 10.0
"""Seconds that the first round may take before the service starts without its end."""
_ROUND_S = 1.0
"""Seconds after which the answers of a round are shown in the metrics."""
_SHARE = 0.05
"""Share of the time for which a part may be asked."""
_SAVED_S = 1.0
"""Seconds of that share which a part may save up."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a part: `READY`, or what is wrong and how to mend it."""

    text: str
    good: bool
    """Whether the service can do its work. A part may be good and still have something to say."""


WELL = State(READY, good=True)
_UNKNOWN = State("not asked yet", good=False)


class Part:
    """One part of the service and how to ask it. Thread-safe.

    ask: returns `READY`, or what a caller should know although the service works; raises what is
    wrong. on_request: whether a question may have the part asked, or only the passing of time.
    """

    def __init__(self, name: str, ask: Callable[[], str], *, on_request: bool = True) -> None:
        self.name, self.on_request, self._ask = name, on_request, ask
        self._state = _UNKNOWN
        self._saved, self._since, self._started = _SAVED_S, time.monotonic(), 0.0
        self._asking = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether the part is being asked."""
        return self._asking.locked()

    @property
    def state(self) -> State:
        """The last answer, or that there has been none for too long."""
        waited = time.monotonic() - self._started if self.busy else 0.0
        if waited < STUCK_S:
            return self._state
        return State(f"has not answered for {waited:.0f} s", good=False)

    def ask(self) -> None:
        """Has the part asked in a thread, unless it is being asked or was asked for too long."""
        if not self._asking.acquire(blocking=False):
            return
        self._started = time.monotonic()
        saved = self._saved + _SHARE * (self._started - self._since)
        self._saved, self._since = min(saved, _SAVED_S), self._started
        if self._saved <= 0:
            self._asking.release()
            return
        try:
            threading.Thread(target=self._answer, name=f"probe-{self.name}", daemon=True).start()
        except RuntimeError:  # no thread is left for it; the last answer stands until the next time
            self._asking.release()

    def doubt(self) -> None:
        """Lets the part be asked again at once, because a request has failed."""
        self._saved = _SAVED_S

    def _answer(self) -> None:
        try:
            before, self._state = self._state, _asked(self._ask)
            if _numberless(self._state) not in (_numberless(before), _numberless(WELL)):
                log().warning("not ready", part=self.name, state=self._state.text)
            elif self._state == WELL and before not in (WELL, _UNKNOWN):
                log().info("ready again", part=self.name)
        finally:
            self._saved -= time.monotonic() - self._started
            self._asking.release()


class Health:
    """The states of all parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    async def states(self) -> dict[str, State]:
        """Returns each part's state, by name; as new as it can be without a wait."""
        parts = [part for part in self._parts if part.on_request]
        for part in parts:
            part.ask()
        end = time.monotonic() + PATIENCE_S
        while any(part.busy for part in parts) and time.monotonic() < end:
            await asyncio.sleep(0.002)
        return {part.name: part.state for part in self._parts}

    def ask(self) -> None:
        """Has every part asked."""
        for part in self._parts:
            part.ask()

    def doubt(self) -> None:
        """Lets every part be asked again at once, because a request has failed."""
        for part in self._parts:
            part.doubt()

    def show(self) -> None:
        """Shows the last answers in the metrics."""
        for part in self._parts:
            PART_READY.labels(part.name).set(part.state.good)

    def wait(self, seconds: float) -> None:
        """Waits until no part is being asked, at most so long."""
        end = time.monotonic() + seconds
        while any(part.busy for part in self._parts) and time.monotonic() < end:
            time.sleep(0.005)


@contextmanager
def watching(parts: Sequence[Part]) -> Iterator[Health]:
    """Gives the health of the parts, which are asked at once and then until the block ends."""
    health, ended = Health(parts), threading.Event()

    def rounds() -> None:
        while not ended.wait(PERIOD_S):
            health.ask()
            ended.wait(_ROUND_S)
            health.show()

    health.ask()
    health.wait(_START_S)
    health.show()
    watcher = threading.Thread(target=rounds, name="health", daemon=True)
    watcher.start()
    try:
        yield health
    finally:
        ended.set()
        watcher.join()
        health.wait(STUCK_S)


def _numberless(state: State) -> str:
    """Returns the state's text, to compare: numbers in it change all the time."""
    return re.sub(r"\d+", "", state.text)


def _asked(ask: Callable[[], str]) -> State:
    try:
        return State(ask(), good=True)
    except EclipError as error:
        return State(error.detail, good=False)
    except Exception as error:
        return State(f"failed ({type(error).__name__}); restart the server", good=False)
