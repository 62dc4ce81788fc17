"""OpenAI-compatible client for vLLM: a cited draft as JSON, or a typed error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import openai
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import DeadlineExceeded, LlmUnavailable, ReportUngrounded
from service.inference.batching import Deadline
from service.reporting.evidence import Evidence
from service.reporting.grounding import Draft
from service.reporting.prompt import ANSWER_SCHEMA, messages

RETRY_AFTER_S = 10.0
TEMPERATURE = 0.0


class _Sentence(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sentence: Annotated[str, Field(max_length=2000)]
    evidence: list[int]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    findings: list[_Sentence]
    impression: list[_Sentence]


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: Annotated[list[_Model], Field(min_length=1)]


class _Message(BaseModel):
    content: str | None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    model: str
    choices: Annotated[list[_Choice], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Drafted:
    """What the model wrote, and which model it was."""

    findings: list[Draft]
    impression: list[Draft]
    model: str


class LanguageModel:
    """The frozen model behind one base URL. Thread-safe."""

    def __init__(
        self, base_url: str, api_key: str | None, *, timeout_s: float, max_tokens: int
    ) -> None:
        self._client = openai.OpenAI(base_url=base_url, api_key=api_key or "none", max_retries=0)
        self._timeout_s, self._max_tokens = timeout_s, max_tokens

    def draft(
        self,
        evidence: Sequence[Evidence],
        *,
        indication: str | None,
        comparison: str | None,
        seed: int,
        deadline: Deadline,
    ) -> Drafted:
        """Ask once for a report; raises LlmUnavailable, DeadlineExceeded or ReportUngrounded."""
        deadline.check()
        own = Deadline(min(self._timeout_s, deadline.remaining))
        raw = self._client.with_raw_response  # the client itself trips over another form
        with _told():
            listing = raw.models.list(timeout=own.remaining)
            own.check()
            answer = raw.chat.completions.create(
                model=_Models.model_validate_json(listing.content).data[0].id,
                messages=_typed(messages(evidence, indication, comparison)),
                temperature=TEMPERATURE,
                seed=seed,
                max_tokens=self._max_tokens,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "report", "schema": ANSWER_SCHEMA, "strict": True},
                },
                timeout=own.remaining,
            )
            completion = _Completion.model_validate_json(answer.content)
        return _read(completion.choices[0].message.content or "", completion.model)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def _told() -> Iterator[None]:
    """What the client raises, as our errors; a body that is no JSON or of no known form too."""
    try:
        yield
    except openai.APITimeoutError:
        raise DeadlineExceeded(
            "The language model did not answer in time. Try again, or raise ECLIP_LLM_TIMEOUT_S."
        ) from None
    except (openai.APIError, ValueError) as error:
        raise LlmUnavailable(
            f"The language model server failed ({type(error).__name__}). Try again later.",
            retry_after_s=RETRY_AFTER_S,
        ) from None


def _read(content: str, model: str) -> Drafted:
    try:
        answer = _Answer.model_validate_json(content)
    except ValidationError:
        raise ReportUngrounded(
            "The language model's answer was not the JSON report that was asked for. Try again, "
            "or serve a model that follows structured outputs."
        ) from None
    return Drafted(_drafts(answer.findings), _drafts(answer.impression), model)


def _drafts(sentences: Sequence[_Sentence]) -> list[Draft]:
    """The sentences that say anything."""
    return [Draft(s.sentence.strip(), tuple(s.evidence)) for s in sentences if s.sentence.strip()]


def _typed(chat: list[dict[str, str]]) -> Any:
    """The client's union of message types is wider than dict[str, str]."""
    return chat
