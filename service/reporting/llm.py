"""OpenAI-compatible client for vLLM: a cited draft as it is written, or a typed error."""

import random
import threading
import time
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any

import httpx2
import openai
from pydantic import BaseModel, Field

from service.deadline import Deadline
from service.errors import DeadlineExceeded, LlmUnavailable, QueueFull, ReportUngrounded
from service.reporting import drafting
from service.reporting.grounding import Proposed
from service.reporting.prompt import ANSWER_SCHEMA, Ask, messages
from service.telemetry import log

CONNECT_S = 5.0
PAUSE_S = (0.2, 0.6)
"""Before all servers are asked once more; drawn anew, so that callers do not come back together."""
FAILURES = 2
"""In a row, after which a server is left alone for `REST_S`."""
REST_S = 5.0
TEMPERATURE = 0.0
REPORT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "report", "schema": ANSWER_SCHEMA, "strict": True},
}


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: Annotated[list[_Model], Field(min_length=1)]


class _Size(BaseModel):
    """Of a prompt, in tokens, and of the model's context."""

    count: int
    max_model_len: int


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta


class _Chunk(BaseModel):
    """A piece of an answer; one that only counts tokens has no choice."""

    choices: list[_Choice]


@dataclass(frozen=True, slots=True)
class Drafting:
    """A draft that is being written. Its sentences raise as `LanguageModel.draft` does.

    passages: how many of the evidence the model was shown, nearest first.
    """

    model: str
    passages: int
    sentences: Iterator[Proposed]


class LanguageModel:
    """A frozen model that one or several servers serve. Thread-safe."""

    def __init__(
        self,
        base_urls: Sequence[str],
        api_key: str | None,
        *,
        timeout_s: float,
        max_tokens: int,
        at_once: int,
    ) -> None:
        self._servers = [_Server(url, api_key) for url in base_urls]
        self._turn = count()
        self._timeout_s, self._max_tokens = timeout_s, max_tokens
        self._places = threading.BoundedSemaphore(at_once)

    @contextmanager
    def place(self) -> Iterator[None]:
        """For one report, one of `at_once`; raises QueueFull where all are taken."""
        if not self._places.acquire(blocking=False):
            raise QueueFull(
                "The language model writes as many reports as it may at once "
                "(ECLIP_LLM_AT_ONCE). Try again later.",
                retry_after_s=REST_S,
            )
        try:
            yield
        finally:
            self._places.release()

    def draft(self, ask: Ask, deadline: Deadline, *, longer: bool = False) -> Drafting:
        """Have a report written, by the first server in turn that begins to answer; where none
        does, all are asked once more after a pause.

        longer: up to twice the tokens. Leaving the sentences ends the writing; so does the
        deadline, when the next token comes. Raises LlmUnavailable, DeadlineExceeded or
        ReportUngrounded.
        """
        own = deadline.within(self._timeout_s)
        max_tokens = self._max_tokens * (2 if longer else 1)
        pause = random.uniform(*PAUSE_S)  # noqa: S311 - no secret
        try:
            return self._begun(ask, max_tokens, own)
        except LlmUnavailable:
            if pause >= own.remaining or all(server.rest_s > 0 for server in self._servers):
                raise
        time.sleep(pause)
        return self._begun(ask, max_tokens, own)

    def _begun(self, ask: Ask, max_tokens: int, deadline: Deadline) -> Drafting:
        deadline.check()
        turn = next(self._turn) % len(self._servers)
        failures = []
        for server in self._servers[turn:] + self._servers[:turn]:
            try:
                return server.draft(ask, max_tokens, deadline)
            except LlmUnavailable as failure:
                failures.append(failure)
        raise failures[0]

    def close(self) -> None:
        """Close the connections."""
        for server in self._servers:
            server.client.close()


class _Server:
    """One server of the model."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self.client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [_bound]}),
        )
        self._failures, self._rests_until = 0, 0.0

    @property
    def rest_s(self) -> float:
        """Seconds for which it is still left alone, or none."""
        return max(0.0, self._rests_until - time.monotonic())

    def draft(self, ask: Ask, max_tokens: int, deadline: Deadline) -> Drafting:
        """Begin a draft from as much of the evidence as the model's context has room for beside
        the answer; where it is refused all the same, from the nearer half, and so on.
        """
        if rest_s := self.rest_s:
            raise _unavailable("failed just now", rest_s)
        model = self._model(deadline)
        room = self._room(model, ask, max_tokens, deadline)
        if room == 0:
            raise ReportUngrounded(
                f"The language model's context has no room for a passage and {max_tokens} tokens "
                "of answer. Send a shorter indication and comparison and no prior study, lower "
                "ECLIP_LLM_MAX_TOKENS, or serve a model with a longer context."
            )
        for passages in _halves(room):
            try:
                with self._told():
                    stream = self._begin(model, ask.shorter(passages), max_tokens, deadline)
            except openai.BadRequestError as error:
                log().warning("prompt refused", passages=passages, error=type(error).__name__)
            else:
                return Drafting(model, passages, self._sentences(stream, deadline))
        raise ReportUngrounded(
            "The language model's server refuses even the shortest prompt. Send a shorter "
            "indication and comparison and no prior study, lower ECLIP_LLM_MAX_TOKENS, or serve a "
            "model with a longer context and structured outputs."
        )

    def _model(self, deadline: Deadline) -> str:
        """Also whether the server answers at all: one that does not is soon left alone."""
        try:
            with self._told():
                listing = self.client.with_raw_response.models.list(
                    timeout=min(CONNECT_S, deadline.remaining)
                )
                return _Models.model_validate_json(listing.content).data[0].id
        except DeadlineExceeded:
            deadline.check()
            raise self._failed("does not answer") from None

    def _room(self, model: str, ask: Ask, max_tokens: int, deadline: Deadline) -> int:
        """How many passages leave room for the answer; all, where the server counts no tokens."""

        def excess(passages: int) -> int:
            size = self._size(model, ask.shorter(passages), deadline)
            return size.count + max_tokens - size.max_model_len if size else 0

        every = len(ask.evidence)
        return every if excess(every) <= 0 else bisect_right(range(1, every), 0, key=excess)

    def _size(self, model: str, ask: Ask, deadline: Deadline) -> _Size | None:
        """By vLLM's `/tokenize`, which stands beside `/v1`; None where that does not answer so."""
        deadline.check()
        try:
            answer = self.client.post(
                str(self.client.base_url.join("../tokenize")),
                cast_to=httpx2.Response,
                body={"model": model, "messages": messages(ask)},
                options={"timeout": min(CONNECT_S, deadline.remaining)},
            )
            return _Size.model_validate_json(answer.content)
        except (openai.APIError, httpx2.HTTPError, ValueError) as error:
            log().warning("tokens not counted", error=type(error).__name__)
            return None

    def _begin(
        self, model: str, ask: Ask, max_tokens: int, deadline: Deadline
    ) -> "openai.Stream[Any]":
        deadline.check()
        chat: Any = messages(ask)
        return self.client.chat.completions.create(
            model=model,
            messages=chat,
            temperature=TEMPERATURE,
            seed=ask.seed,
            max_tokens=max_tokens,
            response_format=REPORT,
            stream=True,
            timeout=_patience(deadline),
        )

    def _sentences(
        self, stream: "openai.Stream[Any]", deadline: Deadline
    ) -> Generator[Proposed, None, None]:
        with closing(stream), closing(self._pieces(stream, deadline)) as pieces:
            try:
                yield from drafting.sentences(pieces)
            except ValueError:
                raise ReportUngrounded(
                    "The language model gave no JSON report as it was asked for. Try again, raise "
                    "ECLIP_LLM_MAX_TOKENS, or serve a model that follows structured outputs."
                ) from None

    def _pieces(
        self, stream: "openai.Stream[Any]", deadline: Deadline
    ) -> Generator[str, None, None]:
        """The text as it arrives."""
        with self._told():
            for chunk in stream:
                deadline.check()
                choices = _Chunk.model_validate(chunk, from_attributes=True).choices
                yield from (choice.delta.content or "" for choice in choices)
            self._failures = 0

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the client raises, as our errors; a body that is no JSON or of no known form too.

        A refused prompt stays as it is. A server that is again broken or not there rests.
        """
        try:
            yield
        except openai.BadRequestError:
            raise
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            if isinstance(error.__cause__ or error, httpx2.ConnectTimeout):
                raise self._failed("cannot be reached") from None
            raise DeadlineExceeded(
                "The language model did not answer in time. Try again, or raise "
                "ECLIP_LLM_TIMEOUT_S."
            ) from None
        except openai.APIStatusError as error:
            if error.status_code >= 500:
                raise self._failed(f"failed ({error.status_code})") from None
            raise _unavailable(f"refuses ({error.status_code})", REST_S) from None
        except (openai.APIError, httpx2.HTTPError, ValueError) as error:
            raise self._failed(f"failed ({type(error).__name__})") from None

    def _failed(self, how: str) -> LlmUnavailable:
        self._failures += 1
        if self._failures >= FAILURES:
            self._rests_until = time.monotonic() + REST_S
        return _unavailable(how, REST_S)


def _bound(response: httpx2.Response) -> None:
    """Let an answer's body take about as long as its request lets one read of it take."""
    response.stream = _Bounded(response.stream, response.request.extensions["timeout"]["read"])


class _Bounded(httpx2.SyncByteStream):
    """Bytes of an answer for so many seconds, also those that say nothing, which end no wait."""

    def __init__(self, stream: Any, seconds: float) -> None:
        self._stream, self._until = stream, time.monotonic() + seconds

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            if time.monotonic() > self._until:
                raise httpx2.ReadTimeout("The answer takes too long.")
            yield piece

    def close(self) -> None:
        """End the answer."""
        self._stream.close()


def _unavailable(what: str, retry_after_s: float) -> LlmUnavailable:
    return LlmUnavailable(
        f"The language model server {what}. Try again later.", retry_after_s=retry_after_s
    )


def _patience(deadline: Deadline) -> openai.Timeout:
    return openai.Timeout(deadline.remaining, connect=min(CONNECT_S, deadline.remaining))


def _halves(count: int) -> Iterator[int]:
    """All, half of them, a quarter, down to one."""
    while count:
        yield count
        count //= 2
