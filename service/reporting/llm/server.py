"""Talks to one OpenAI-compatible server: begins a draft and reads it as it is written."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import httpx2
import openai
from pydantic import BaseModel, PositiveInt

from service.deadline import Deadline
from service.errors import DeadlineExceeded, LlmRefused, LlmUnavailable, ReportUngrounded
from service.reporting.llm.answer import read_drafts
from service.reporting.llm.circuit_breaker import COOLDOWN_S, CircuitBreaker
from service.reporting.llm.client import openai_client
from service.reporting.llm.completion import Completion, NotTheApi, cut
from service.reporting.llm.connection import Connection
from service.reporting.llm.context import halves, passages_that_fit
from service.reporting.llm.names import chosen
from service.reporting.llm.upstream_error import UpstreamError, page, remedy
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
_PASSING = frozenset({408, 409, 425, 429})
"""Statuses of a server that is busy."""
_UNLISTED = frozenset({403, 404, 405, 501})
"""Statuses of `/v1/models` where a server does not list its models, or not for this key."""
_SHORTER = "Send a shorter indication and comparison and no prior study, lower ECLIP_LLM_MAX_TOKENS"


class _PromptSize(BaseModel):
    """Tokens of a prompt, and of the model's context."""

    count: int
    max_model_len: PositiveInt


class _NotCounted(Exception):
    """The server has no vLLM `/tokenize`, or it fails."""


class _TooLong(Exception):
    """The server says that the prompt does not fit into the model's context."""


@dataclass(frozen=True, slots=True)
class StartedDraft:
    """A draft that a server has begun to write.

    model: the model's name. passages: how many of the evidence the model was shown, nearest first.
    sentences: yields each sentence as it is written; raises as `LanguageModel.draft` does. Closing
    it ends the writing. close: ends it too, before any sentence is asked for.
    """

    model: str
    passages: int
    sentences: Generator[Draft, None, None]
    close: Callable[[], None]


class Server:
    """One server of a language model."""

    def __init__(
        self, base_url: str, api_key: str | None, model: str | None, proxy: str | None = None
    ) -> None:
        self._client = openai_client(base_url, api_key, proxy)
        self._wanted = model
        self._breaker = CircuitBreaker()

    @property
    def cooldown_s(self) -> float:
        """Seconds for which the server is not asked after repeated failures; 0 if it is."""
        return self._breaker.cooldown_s

    def start_draft(
        self, prompt: Prompt, max_tokens: int, deadline: Deadline, *, longer: bool = False
    ) -> StartedDraft:
        """Begins a draft from as many passages as fit into the model's context with the answer.

        If the server says all the same that the prompt is too long, asks again with the nearer half
        of the passages, and so on. With `longer`, the answer may have twice the tokens, and half of
        the passages make room for them where nobody counts tokens. The draft has begun once its
        first word is there. Raises LlmUnavailable, DeadlineExceeded or ReportUngrounded.
        """
        if cooldown_s := self.cooldown_s:
            raise _unavailable("failed or was busy just now", cooldown_s)
        model = self._model(deadline)
        most = max_tokens * (2 if longer else 1)
        fitting = self._fitting(model, prompt, most, deadline, longer=longer)
        if fitting == 0 and longer:
            raise cut(max_tokens)
        if fitting == 0:
            raise ReportUngrounded(
                f"The language model's context is too short for one passage and {max_tokens} "
                f"tokens of answer. {_SHORTER}, or serve a model with a longer context."
            )
        said = ""
        for passages in halves(fitting):
            try:
                return self._begin(model, prompt.shortened(passages), most, deadline)
            except _TooLong as error:
                said = str(error)
                log().warning("prompt too long", passages=passages, said=said)
        raise ReportUngrounded(
            f"The language model's server says that even the shortest prompt is too long{said}. "
            f"{_SHORTER}, or serve a model with a longer context."
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _model(self, deadline: Deadline) -> str:
        """Returns the name of the model to ask.

        A server that does not answer this short request counts as failed. One that does not list
        its models is asked for the wanted one.
        """
        try:
            with self._translate_errors("", deadline):
                try:
                    listing = self._client.with_raw_response.models.list(
                        timeout=min(CONNECT_S, deadline.remaining)
                    )
                except openai.APIStatusError as error:
                    if self._wanted is None or error.status_code not in _UNLISTED:
                        raise
                    return self._wanted
                if title := page(listing.text):
                    raise NotTheApi(title)
                return chosen(listing.text, self._wanted)
        except DeadlineExceeded:
            deadline.check()
            raise self._failed("does not answer") from None

    def _fitting(
        self, model: str, prompt: Prompt, max_tokens: int, deadline: Deadline, *, longer: bool
    ) -> int:
        """Returns how many passages fit.

        If the server does not count tokens: all of them, or half where the answer is longer.
        """

        def excess(passages: int) -> int:
            size = self._count_tokens(model, prompt.shortened(passages), deadline)
            return size.count + max_tokens - size.max_model_len

        count = len(prompt.passages)
        try:
            return passages_that_fit(count, excess)
        except _NotCounted:
            return (count + 1) // 2 if longer else count

    def _count_tokens(self, model: str, prompt: Prompt, deadline: Deadline) -> _PromptSize:
        """Asks vLLM's `/tokenize`; raises _NotCounted."""
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
            log().info("tokens not counted", error=type(error).__name__)
            raise _NotCounted from None

    def _begin(
        self, model: str, prompt: Prompt, max_tokens: int, deadline: Deadline
    ) -> StartedDraft:
        """Begins a draft, and returns it once its first words are there; raises _TooLong."""
        deadline.check()
        connection = Connection()
        with ExitStack() as undo:
            undo.enter_context(deadline.ending(connection.end))
            raw = connection.of(lambda: self._ask(model, prompt, max_tokens, deadline))
            completion = undo.enter_context(closing(Completion(raw)))
            pieces = undo.enter_context(closing(self._pieces(completion, prompt, deadline)))
            text = chain([next(filter(None, pieces), "")], pieces)
            resources = undo.pop_all()
        sentences = self._sentences(completion, text, max_tokens, resources)
        return StartedDraft(model, len(prompt.passages), sentences, resources.close)

    def _ask(self, model: str, prompt: Prompt, max_tokens: int, deadline: Deadline) -> Any:
        """Returns the raw response, whose body is not read yet; raises _TooLong."""
        chat: Any = prompt.messages()
        with self._translate_errors(prompt.texts(), deadline):
            return self._client.chat.completions.with_raw_response.create(
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
        self, completion: Completion, text: Iterator[str], max_tokens: int, resources: ExitStack
    ) -> Generator[Draft, None, None]:
        with resources:
            try:
                yield from read_drafts(text)
            except _TooLong:
                raise cut(max_tokens) from None
            except ValueError:
                if not completion.ended:
                    raise self._failed("ended its answer too early") from None
                raise completion.flaw(max_tokens) from None

    def _pieces(
        self, completion: Completion, prompt: Prompt, deadline: Deadline
    ) -> Generator[str, None, None]:
        """Yields the text as it arrives."""
        with self._translate_errors(prompt.texts(), deadline):
            for piece in completion.pieces():
                deadline.check()
                yield piece
            self._breaker.record_success()

    @contextmanager
    def _translate_errors(self, sent: str, deadline: Deadline) -> Iterator[None]:
        """Raises the client's errors as the service's own, and counts the server's failures.

        A body that is not JSON, or of another form, is a failure too. sent: the texts of the
        prompt, which no error may repeat. Raises _TooLong for a prompt that is too long, and
        DeadlineExceeded for a connection that broke because the client has left.
        """
        try:
            yield
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            if isinstance(error.__cause__ or error, httpx2.ConnectTimeout):
                raise self._failed("cannot be reached") from None
            raise DeadlineExceeded(
                "The language model did not answer in time. Try again, or raise "
                "ECLIP_LLM_TIMEOUT_S."
            ) from None
        except openai.APIConnectionError as error:
            deadline.check()
            reached = not isinstance(error.__cause__, httpx2.ConnectError)
            how = "broke the connection" if reached else "cannot be reached"
            raise self._failed(how) from None
        except openai.APIError as error:
            secret = f"{sent}\n{self._client.api_key}"
            raise self._answered(UpstreamError.of(error, secret)) from None
        except httpx2.HTTPError as error:
            deadline.check()
            raise self._failed(f"failed ({type(error).__name__})") from None
        except (ValueError, RecursionError) as error:
            what = f" ({error})" if isinstance(error, NotTheApi) else ""
            how = f"does not speak the OpenAI API{what}: check ECLIP_LLM_URL"
            raise self._failed(how) from None

    def _answered(self, error: UpstreamError) -> Exception:
        """Returns what to raise for an error that the server answered."""
        if error.too_long:
            return _TooLong(error.said)
        log().warning("language model error", status=error.status, said=error.message)
        if error.status is None or error.status >= 500:
            self._breaker.record_failure()
        elif error.status not in _PASSING:
            return LlmRefused(
                f"The language model server refuses the request{error.said}. {remedy(error.status)}"
            )
        if error.retry_after_s:
            self._breaker.rest(error.retry_after_s)
        what = "is busy" if error.status in _PASSING else "failed"
        return _unavailable(f"{what}{error.said}", error.retry_after_s or COOLDOWN_S)

    def _failed(self, how: str) -> LlmUnavailable:
        self._breaker.record_failure()
        return _unavailable(how, COOLDOWN_S)


def _unavailable(what: str, retry_after_s: float) -> LlmUnavailable:
    return LlmUnavailable(
        f"The language model server {what}. Try again later.", retry_after_s=retry_after_s
    )


def _timeout(deadline: Deadline) -> openai.Timeout:
    return openai.Timeout(deadline.remaining, connect=min(CONNECT_S, deadline.remaining))
