"""Has a language model write reports, spreading them over the servers that serve it."""

import random
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count

from service.deadline import Deadline
from service.errors import LlmRefused, LlmUnavailable, QueueFull, ReportCut
from service.reporting.llm.circuit_breaker import COOLDOWN_S
from service.reporting.llm.server import Server, StartedDraft
from service.reporting.prompt import Prompt
from service.reporting.sentences import Draft
from service.reporting.writer import WritingTask, WrittenBy
from service.telemetry import record

PAUSE_S = (0.2, 0.6)
"""Seconds between the two rounds of attempts, drawn at random so that callers spread out."""


class LanguageModel:
    """A language model that one or several servers serve. Thread-safe."""

    def __init__(
        self,
        base_urls: Sequence[str],
        api_key: str | None,
        *,
        model: str | None = None,
        proxy: str | None = None,
        timeout_s: float,
        max_tokens: int,
        at_once: int,
    ) -> None:
        self._servers = [Server(url, api_key, model, proxy) for url in base_urls]
        self._turn = count()
        self._timeout_s, self._max_tokens = timeout_s, max_tokens
        self._slots = threading.BoundedSemaphore(at_once)

    def write(
        self, task: WritingTask, deadline: Deadline
    ) -> Generator[WrittenBy | Draft, None, None]:
        """Yields who writes, then each sentence (see `service.reporting.writer.Writer`).

        Writes once more if the stream breaks, and if the answer was cut; in the second case with
        twice the tokens. Holds a slot meanwhile. Raises QueueFull if there is none, LlmUnavailable,
        DeadlineExceeded or ReportUngrounded.
        """
        prompt = Prompt.of(task)
        with self.slot():
            start = time.perf_counter()
            started = self.draft(prompt, deadline)
            try:
                yield from _steps(started, start)
            except LlmRefused:
                raise
            except LlmUnavailable:
                longer = False
            except ReportCut:
                longer = True
            else:
                return
            start = time.perf_counter()
            yield from _steps(self.draft(prompt, deadline, longer=longer), start)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Holds one of the `at_once` slots; raises QueueFull if all are taken."""
        if not self._slots.acquire(blocking=False):
            raise QueueFull(
                "The language model writes as many reports as it may at once "
                "(ECLIP_LLM_AT_ONCE). Try again later.",
                retry_after_s=COOLDOWN_S,
            )
        try:
            yield
        finally:
            self._slots.release()

    def draft(self, prompt: Prompt, deadline: Deadline, *, longer: bool = False) -> StartedDraft:
        """Begins a draft on the first server, in turn, that answers.

        If none does, asks all of them once more after a pause, unless all refuse or ask for a
        longer one. With `longer`, the answer may have twice the tokens. Closing the draft's
        sentences ends the writing; so does the deadline, when the next token comes. Raises
        LlmUnavailable, DeadlineExceeded or ReportUngrounded.
        """
        bounded = deadline.within(self._timeout_s)
        pause = random.uniform(*PAUSE_S)  # noqa: S311 - no secret
        try:
            return self._start_draft(prompt, bounded, longer=longer)
        except LlmRefused:
            raise
        except LlmUnavailable:
            all_cooling = all(server.cooldown_s > 0 for server in self._servers)
            if pause >= bounded.remaining or all_cooling:
                raise
        time.sleep(pause)
        return self._start_draft(prompt, bounded, longer=longer)

    def close(self) -> None:
        """Closes the connections."""
        for server in self._servers:
            server.close()

    def _start_draft(self, prompt: Prompt, deadline: Deadline, *, longer: bool) -> StartedDraft:
        """Asks each server once, beginning with the next in turn.

        If one is unavailable that may answer later, raises its error rather than a refusal.
        """
        deadline.check()
        turn = next(self._turn) % len(self._servers)
        failures = []
        for server in self._servers[turn:] + self._servers[:turn]:
            try:
                return server.start_draft(prompt, self._max_tokens, deadline, longer=longer)
            except LlmUnavailable as failure:
                failures.append(failure)
        raise min(failures, key=lambda failure: isinstance(failure, LlmRefused))


def _steps(started: StartedDraft, start: float) -> Generator[WrittenBy | Draft, None, None]:
    """Yields who writes and what; records the time that the model took.

    That is without the time that the caller takes between two sentences. start: when the server was
    asked, on the clock of time.perf_counter.
    """
    spent_s = time.perf_counter() - start
    with closing(started):
        yield WrittenBy("vllm", started.model, started.passages)
        try:
            while True:
                start = time.perf_counter()
                draft = next(started.sentences, None)
                spent_s += time.perf_counter() - start
                if draft is None:
                    return
                yield draft
        finally:
            record("llm", spent_s)
