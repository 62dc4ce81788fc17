"""Reads the answer to a chat request, streamed or whole: its text, and how it ended."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import httpx2
import openai
from pydantic import BaseModel, BeforeValidator

from service.errors import ReportCut, ReportUngrounded
from service.reporting.llm.upstream_error import page

MAX_CHARS = 100_000
"""Characters of an answer; one whose server does not end it is cut there."""
_CUT = frozenset({"length", "max_tokens", "model_length"})
"""Values of `finish_reason` of an answer that met the greatest length, as servers write it."""
_FILTERED = frozenset({"content_filter", "safety", "recitation"})
_CALLED = frozenset({"tool_calls", "function_call"})
_ERROR = frozenset({"error", "message", "detail"})
"""Members of an error that stands in the place of a chunk."""


def _joined(content: object) -> object:
    """Returns the text of a content that is given in parts, as Mistral gives it."""
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(str(part.get("text", "")) for part in parts)


class _Text(BaseModel):
    content: Annotated[str | None, BeforeValidator(_joined)] = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(BaseModel):
    index: int = 0
    delta: _Text | None = None
    message: _Text | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    completion_tokens: int | None = None


class _Chunk(BaseModel):
    """A piece of a streamed answer, or a whole one; one that reports token counts has no choice."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None


class NotTheApi(ValueError):
    """An answer has another form than that of an OpenAI-compatible server."""


class Completion:
    """The answer to one chat request, of which the first choice is read."""

    def __init__(self, raw: Any) -> None:
        """Takes the raw response of `openai.OpenAI`, whose body is not read yet."""
        self._raw = raw
        self._finish: str | None = None
        self._tokens: int | None = None
        self._written = 0
        self._refused = self._reasoned = False

    def pieces(self) -> Iterator[str]:
        """Yields the text as it arrives, and "" for what is not text.

        Raises openai.APIError if the server reports an error within its answer, and NotTheApi.
        """
        for chunk in self._chunks():
            self._tokens = (chunk.usage and chunk.usage.completion_tokens) or self._tokens
            for choice in chunk.choices or ():
                if choice.index == 0:
                    yield self._read(choice)
            if self._written > MAX_CHARS:
                self._finish = "length"
                return

    def close(self) -> None:
        """Ends the writing."""
        self._raw.http_response.close()

    @property
    def ended(self) -> bool:
        """Whether the server said that the answer is at its end."""
        return self._finish is not None

    def flaw(self, max_tokens: int) -> ReportUngrounded:
        """Returns the error that says why a text that has ended is not a report."""
        finish = (self._finish or "").lower()
        if finish in _CUT:
            return cut(max_tokens, self._tokens)
        if finish in _FILTERED:
            why = "was stopped by the server's content filter"
        elif self._refused:
            why = "is a refusal to write the report"
        elif finish in _CALLED:
            why = "is a call of a tool instead of a text"
        elif self._reasoned and not self._written:
            why = "has thoughts and no text. Turn thoughts off, or serve it without their parser"
        elif not self._written:
            why = "is empty"
        else:
            why = "is not the JSON report it was asked for"
        return ReportUngrounded(
            f"The language model's answer {why}. Try again with other cases, or serve a model that "
            "follows structured outputs."
        )

    def _chunks(self) -> Iterator[_Chunk]:
        kind = self._raw.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("application/json", "text/html"):
            yield _whole(self._raw.http_response)
            return
        for body in self._raw.parse(to=openai.Stream[object]):
            yield _chunk(body, self._raw.http_response.request)

    def _read(self, choice: _Choice) -> str:
        self._finish = choice.finish_reason or self._finish
        said = choice.delta or choice.message or _Text()
        self._refused |= bool(said.refusal)
        self._reasoned |= bool(said.reasoning or said.reasoning_content)
        self._written += len(said.content or "")
        return said.content or ""


def cut(max_tokens: int, tokens: int | None = None) -> ReportCut:
    """Returns the error of an answer that was cut before the report's end.

    max_tokens: how many the answer may have. tokens: how many it has, if the server says so.
    """
    shorter = "ask for fewer cases (`k`), or serve a model with a longer context"
    if tokens is not None and tokens < max_tokens:
        why = (
            f"after {tokens} tokens it met the end of the model's context. To make room, {shorter}"
        )
    else:
        why = (
            f"it met {max_tokens} tokens, or the end of the model's context. Raise "
            f"ECLIP_LLM_MAX_TOKENS, {shorter}"
        )
    return ReportCut(
        f"The language model's answer was cut (finish_reason: length): {why}. Some models spend "
        "most of an answer on blanks or thoughts: have the server write JSON without blanks, and "
        "turn thoughts off."
    )


def _whole(response: httpx2.Response) -> _Chunk:
    """Reads an answer that is not streamed; raises NotTheApi and openai.APIError."""
    text = response.read().decode(errors="replace")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise NotTheApi(page(text) or "no JSON") from None
    return _chunk(body, response.request)


def _chunk(body: object, request: httpx2.Request) -> _Chunk:
    """Reads a chunk; raises openai.APIError if an error stands in its place, and NotTheApi."""
    if isinstance(body, dict) and "choices" not in body and _ERROR & body.keys():
        raise openai.APIError("", request, body=body.get("error") or body)
    try:
        return _Chunk.model_validate(body)
    except ValueError:
        raise NotTheApi("no chat completion") from None
