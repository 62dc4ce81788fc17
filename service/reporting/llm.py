"""OpenAI-compatible client for vLLM: a cited draft as it is written, or a typed error."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any

import httpx2
import openai
from pydantic import BaseModel, Field

from service.errors import DeadlineExceeded, LlmUnavailable, ReportUngrounded
from service.inference.batching import Deadline
from service.reporting import drafting
from service.reporting.evidence import Evidence
from service.reporting.grounding import Proposed
from service.reporting.prompt import ANSWER_SCHEMA, messages

CONNECT_S = 5.0
REST_S = 5.0
"""A server that failed is left alone for so long."""
TEMPERATURE = 0.0
REPORT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "report", "schema": ANSWER_SCHEMA, "strict": True},
}


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: Annotated[list[_Model], Field(min_length=1)]


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta


class _Chunk(BaseModel):
    """A piece of an answer; one that only counts tokens has no choice."""

    choices: list[_Choice]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a report is to be written of."""

    evidence: Sequence[Evidence]
    indication: str | None
    comparison: str | None
    seed: int


@dataclass(frozen=True, slots=True)
class Drafting:
    """Sentences as they are written, and by which model. Raises as `LanguageModel.draft` does."""

    model: str
    sentences: Iterator[Proposed]


class LanguageModel:
    """A frozen model that one or several servers serve. Thread-safe."""

    def __init__(
        self, base_urls: Sequence[str], api_key: str | None, *, timeout_s: float, max_tokens: int
    ) -> None:
        self._servers = [_Server(url, api_key) for url in base_urls]
        self._turn = count()
        self._timeout_s, self._max_tokens = timeout_s, max_tokens

    def draft(self, ask: Ask, deadline: Deadline) -> Drafting:
        """Have a report written; leaving its sentences, or the deadline, ends the writing.

        A draft that is cut short or no report is asked for once more, with twice the tokens.
        Raises LlmUnavailable, DeadlineExceeded or ReportUngrounded.
        """
        deadline.check()
        own = deadline.within(self._timeout_s)
        answer = self._answer(ask, self._max_tokens, own)
        return Drafting(answer.model, self._sentences(answer, ask, own))

    def close(self) -> None:
        """Close the connections."""
        for server in self._servers:
            server.client.close()

    def _sentences(self, answer: "_Answer", ask: Ask, deadline: Deadline) -> Iterator[Proposed]:
        told: set[Proposed] = set()
        try:
            yield from _new(answer, told)
        except ValueError:
            again = self._answer(ask, 2 * self._max_tokens, deadline)
            try:
                yield from _new(again, told)
            except ValueError:
                raise ReportUngrounded(
                    "The language model twice gave no JSON report as it was asked for. Try again, "
                    "raise ECLIP_LLM_MAX_TOKENS, or serve a model that follows structured outputs."
                ) from None

    def _answer(self, ask: Ask, max_tokens: int, deadline: Deadline) -> "_Answer":
        """Of the servers in turn, the first that begins to answer; one that failed rests."""
        turn = next(self._turn) % len(self._servers)
        failures = []
        for server in self._servers[turn:] + self._servers[:turn]:
            try:
                return server.answer(ask, max_tokens, deadline)
            except LlmUnavailable as failure:
                failures.append(failure)
        raise failures[0]


class _Server:
    """One server of the model."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self.client = openai.OpenAI(base_url=base_url, api_key=api_key or "none", max_retries=0)
        self._rests_until = 0.0

    def answer(self, ask: Ask, max_tokens: int, deadline: Deadline) -> "_Answer":
        """Begin an answer; where prompt and answer are more than the model's context, from the
        nearer half of the evidence, and so on.
        """
        rest = self._rests_until - time.monotonic()
        if rest > 0:
            raise _unavailable("failed just now", rest)
        try:
            with _told():
                model = self._model(deadline)
                for most in _halves(len(ask.evidence)):
                    try:
                        return self._begin(model, ask, most, max_tokens, deadline)
                    except openai.BadRequestError:
                        continue
        except LlmUnavailable:
            self._rests_until = time.monotonic() + REST_S
            raise
        raise ReportUngrounded(
            "The language model's server refuses even the shortest prompt. Send a shorter "
            "indication and comparison, lower ECLIP_LLM_MAX_TOKENS, or serve a model with a longer "
            "context and structured outputs."
        )

    def _model(self, deadline: Deadline) -> str:
        listing = self.client.with_raw_response.models.list(timeout=_patience(deadline))
        return _Models.model_validate_json(listing.content).data[0].id

    def _begin(
        self, model: str, ask: Ask, most: int, max_tokens: int, deadline: Deadline
    ) -> "_Answer":
        deadline.check()
        chat: Any = messages(ask.evidence[:most], ask.indication, ask.comparison)
        stream = self.client.chat.completions.create(
            model=model,
            messages=chat,
            temperature=TEMPERATURE,
            seed=ask.seed,
            max_tokens=max_tokens,
            response_format=REPORT,
            stream=True,
            timeout=_patience(deadline),
        )
        return _Answer(model, stream, deadline)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer that has begun."""

    model: str
    stream: "openai.Stream[Any]"
    deadline: Deadline

    def pieces(self) -> Generator[str, None, None]:
        """Its text as it arrives; leaving it, or the deadline, closes the connection."""
        with closing(self.stream), _told():
            for chunk in self.stream:
                self.deadline.check()
                choices = _Chunk.model_validate(chunk, from_attributes=True).choices
                yield from (choice.delta.content or "" for choice in choices)


@contextmanager
def _told() -> Iterator[None]:
    """What the client raises, as our errors; a body that is no JSON or of no known form too."""
    try:
        yield
    except (openai.APITimeoutError, httpx2.TimeoutException):
        raise DeadlineExceeded(
            "The language model did not answer in time. Try again, or raise ECLIP_LLM_TIMEOUT_S."
        ) from None
    except (openai.APIError, httpx2.HTTPError, ValueError) as error:
        raise _unavailable(f"failed ({type(error).__name__})", REST_S) from None


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


def _new(answer: _Answer, told: set[Proposed]) -> Iterator[Proposed]:
    """The sentences of an answer that were not told; raises ValueError for what is no report."""
    with closing(answer.pieces()) as pieces:
        for proposed in drafting.sentences(pieces):
            if proposed not in told:
                told.add(proposed)
                yield proposed
