"""Talks to one OpenAI-compatible server: begins a draft and reads it as it is written."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import httpx2
import openai
from pydantic import BaseModel, Field

from service.deadline import Deadline
from service.errors import DeadlineExceeded, LlmUnavailable, ReportUngrounded
from service.reporting.llm.answer import read_drafts
from service.reporting.llm.circuit_breaker import COOLDOWN_S, CircuitBreaker
from service.reporting.llm.context import halves, passages_that_fit
from service.reporting.llm.timed_body import bound_body
from service.reporting.prompt import ANSWER_SCHEMA, Prompt
from service.reporting.sentences import Draft
from service.telemetry import log

CONNECT_S = 5.0
"""Seconds: bound of a connection, and of the short requests before a draft."""
TEMPERATURE = 0.0
RESPONSE_FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "report", "schema": ANSWER_SCHEMA, "strict": True},
}


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: Annotated[list[_Model], Field(min_length=1)]


class _PromptSize(BaseModel):
    """Tokens of a prompt, and of the model's context."""

    count: int
    max_model_len: int


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta


class _Chunk(BaseModel):
    """A piece of an answer; one that reports token counts has no choice."""

    choices: list[_Choice]


@dataclass(frozen=True, slots=True)
class StartedDraft:
    """A draft that a server has begun to write.

    model: the model's name. passages: how many of the evidence the model was shown, nearest first.
    sentences: yields each sentence as it is written; raises as `LanguageModel.draft` does. Closing
    it ends the writing.
    """

    model: str
    passages: int
    sentences: Generator[Draft, None, None]


class Server:
    """One server of a language model."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [bound_body]}),
        )
        self._breaker = CircuitBreaker()

    @property
    def cooldown_s(self) -> float:
        """Seconds for which the server is not asked after repeated failures; 0 if it is."""
        return self._breaker.cooldown_s

    def start_draft(self, prompt: Prompt, max_tokens: int, deadline: Deadline) -> StartedDraft:
        """Begins a draft from as many passages as fit into the model's context with the answer.

        If the server refuses the prompt all the same, asks again with the nearer half of the
        passages, and so on. Raises LlmUnavailable, DeadlineExceeded or ReportUngrounded.
        """
        if cooldown_s := self.cooldown_s:
            raise _unavailable("failed just now", cooldown_s)
        model = self._model(deadline)
        fitting = self._fitting(model, prompt, max_tokens, deadline)
        if fitting == 0:
            raise ReportUngrounded(
                f"The language model's context is too short for one passage and {max_tokens} "
                "tokens of answer. Send a shorter indication and comparison and no prior study, "
                "lower ECLIP_LLM_MAX_TOKENS, or serve a model with a longer context."
            )
        for passages in halves(fitting):
            try:
                with self._translate_errors():
                    stream = self._complete(model, prompt.shortened(passages), max_tokens, deadline)
            except openai.BadRequestError as error:
                log().warning("prompt refused", passages=passages, error=type(error).__name__)
            else:
                return StartedDraft(model, passages, self._sentences(stream, deadline))
        raise ReportUngrounded(
            "The language model's server refuses even the shortest prompt. Send a shorter "
            "indication and comparison and no prior study, lower ECLIP_LLM_MAX_TOKENS, or serve a "
            "model with a longer context and structured outputs."
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _model(self, deadline: Deadline) -> str:
        """Returns the name of the first model served.

        A server that does not answer this short request counts as failed.
        """
        try:
            with self._translate_errors():
                listing = self._client.with_raw_response.models.list(
                    timeout=min(CONNECT_S, deadline.remaining)
                )
                return _Models.model_validate_json(listing.content).data[0].id
        except DeadlineExceeded:
            deadline.check()
            raise self._failed("does not answer") from None

    def _fitting(self, model: str, prompt: Prompt, max_tokens: int, deadline: Deadline) -> int:
        """Returns how many passages fit; all of them if the server does not count tokens."""

        def excess(passages: int) -> int:
            size = self._count_tokens(model, prompt.shortened(passages), deadline)
            return size.count + max_tokens - size.max_model_len if size else 0

        return passages_that_fit(len(prompt.passages), excess)

    def _count_tokens(self, model: str, prompt: Prompt, deadline: Deadline) -> _PromptSize | None:
        """Asks vLLM's `/tokenize`; None from a server that has no such endpoint."""
        deadline.check()
        try:
            answer = self._client.post(
                str(self._client.base_url.join("../tokenize")),
                cast_to=httpx2.Response,
                body={"model": model, "messages": prompt.messages()},
                options={"timeout": min(CONNECT_S, deadline.remaining)},
            )
            return _PromptSize.model_validate_json(answer.content)
        except (openai.APIError, httpx2.HTTPError, ValueError) as error:
            log().warning("tokens not counted", error=type(error).__name__)
            return None

    def _complete(
        self, model: str, prompt: Prompt, max_tokens: int, deadline: Deadline
    ) -> "openai.Stream[Any]":
        deadline.check()
        chat: Any = prompt.messages()
        return self._client.chat.completions.create(
            model=model,
            messages=chat,
            temperature=TEMPERATURE,
            seed=prompt.task.seed,
            max_tokens=max_tokens,
            response_format=RESPONSE_FORMAT,
            stream=True,
            timeout=_timeout(deadline),
        )

    def _sentences(
        self, stream: "openai.Stream[Any]", deadline: Deadline
    ) -> Generator[Draft, None, None]:
        with closing(stream), closing(self._pieces(stream, deadline)) as pieces:
            try:
                yield from read_drafts(pieces)
            except ValueError:
                raise ReportUngrounded(
                    "The language model's answer is not the JSON report it was asked for. Try "
                    "again, raise ECLIP_LLM_MAX_TOKENS, or serve a model that follows structured "
                    "outputs."
                ) from None

    def _pieces(
        self, stream: "openai.Stream[Any]", deadline: Deadline
    ) -> Generator[str, None, None]:
        """Yields the text as it arrives."""
        with self._translate_errors():
            for chunk in stream:
                deadline.check()
                choices = _Chunk.model_validate(chunk, from_attributes=True).choices
                yield from (choice.delta.content or "" for choice in choices)
            self._breaker.record_success()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raises the client's errors as the service's own, and counts the server's failures.

        A body that is not JSON, or of another form, is a failure too. A refused prompt
        (openai.BadRequestError) passes unchanged.
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
            raise _unavailable(f"refuses ({error.status_code})", COOLDOWN_S) from None
        except (openai.APIError, httpx2.HTTPError, ValueError) as error:
            raise self._failed(f"failed ({type(error).__name__})") from None

    def _failed(self, how: str) -> LlmUnavailable:
        self._breaker.record_failure()
        return _unavailable(how, COOLDOWN_S)


def _unavailable(what: str, retry_after_s: float) -> LlmUnavailable:
    return LlmUnavailable(
        f"The language model server {what}. Try again later.", retry_after_s=retry_after_s
    )


def _timeout(deadline: Deadline) -> openai.Timeout:
    return openai.Timeout(deadline.remaining, connect=min(CONNECT_S, deadline.remaining))
