"""Reads what a language model's server says when it answers with an error."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import openai

from service.reporting.prompt import SYSTEM
from service.retry_after import retry_after_s

MOST_CHARS = 300
"""Characters of a server's message that are kept."""
_READ_CHARS = 10_000

_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|ContextWindowExceeded"
    r"|maximum (?:context|prompt|input|model) length"
    r"|(?:exceed|overflow|longer than|greater than|fit).{0,60}(?:context|n_ctx)"
    r"|context.{0,20}overflow"
    r"|\b(?:prompt|inputs?|messages?)\b.{0,60}too (?:long|large|big)|input length should be"
    r"|(?:prompt|input|token) (?:length|tokens?|count)\b.{0,60}(?:exceed|greater than)"
    r"|\binputs`? (?:tokens \+|must have less)|too many (?:input )?tokens"
    r"|reduce (?:the length|your (?:message|prompt|input))",
    re.IGNORECASE,
)
"""What OpenAI, vLLM, llama.cpp, TGI, Ollama, LiteLLM, SGLang, LM Studio, TensorRT-LLM and hosted
services say of a prompt that does not fit."""
_ANSWER_TOO_LONG = re.compile(
    r"too large: (\d{1,9})\b.*maximum context length is (\d{1,9})\b", re.DOTALL
)
"""vLLM's message, with what was asked for and the whole context."""

_ANSWER = re.compile(r"max_\w*tokens", re.IGNORECASE)
_PROMPT = re.compile(r"prompt|input|message|request|total", re.IGNORECASE)

_WORD = re.compile(r"\w+")
_ORDINARY = frozenset(
    _WORD.findall(
        f"{SYSTEM.lower()} a an be been but can cannot does for got has have however if in into it "
        "its must on only than that this to too use was were will with you your available error "
        "failed large length limit long none size support supported type unknown"
    )
)
"""Words that tell nothing of a patient, even where a report has them too."""


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """An error that a server answered.

    status: the HTTP status, or the code of an error within a stream; None without one.
    message: the server's own words, on one line, without words of the reports that it was sent.
    too_long: whether the prompt is longer than the model's context.
    retry_after_s: seconds that the server asks to wait.
    """

    status: int | None
    message: str
    too_long: bool
    retry_after_s: float | None

    @classmethod
    def of(cls, error: openai.APIError, sent: str) -> Self:
        """Reads an error of the client.

        sent: the texts of the prompt and the key, which the error's message must not repeat.
        """
        status, wait_s = _code(error.body), None
        if isinstance(error, openai.APIStatusError):
            status = error.status_code
            asked = error.response.headers.get("retry-after", "")
            wait_s = retry_after_s(asked) or None
        words = _words(error.body)[:_READ_CHARS]
        if isinstance(error, openai.APIStatusError) and error.response.has_redirect_location:
            words = f"Location: {error.response.headers['location']}"
        return cls(status, _shown(words, sent), _too_long(status, words, error), wait_s)

    @property
    def said(self) -> str:
        """The status and the message, for an error's text: ` (400): "No such model"`."""
        status = f" ({self.status})" if self.status else ""
        return status + (f': "{self.message}"' if self.message else "")


def remedy(status: int) -> str:
    """Returns what to do about a refusal with this status."""
    if status in (401, 403):
        return "Check ECLIP_LLM_API_KEY."
    if status in (404, 405):
        return "Check ECLIP_LLM_URL, which mostly ends in /v1, and ECLIP_LLM_MODEL."
    if status < 400:
        return "It redirects, which is not followed: set ECLIP_LLM_URL to the address it names."
    return (
        "The server must take a system message, `temperature`, `seed`, `max_tokens` "
        "(ECLIP_LLM_MAX_TOKENS) and a `response_format` of type json_schema: change its settings, "
        "or serve another model."
    )


def page(text: str) -> str | None:
    """Returns what an HTML page calls itself; None if the text is none."""
    if not re.match(r"\s*<(?:!doctype html|html|head|body)", text, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>([^<]+)", text, re.IGNORECASE)
    named = f" with the title {' '.join(title[1].split())}" if title else ""
    return f"an HTML page{named}, perhaps of a proxy"


def _words(body: object, depth: int = 5) -> str:
    """Returns the message of an error's body, in any form that servers give it.

    The `input` of FastAPI's validation errors, which repeats the request, is left out. depth: of
    objects within each other that are read.
    """
    if depth == 0:
        return ""
    match body:
        case str():
            return page(body) or body
        case {"message": str(message), "metadata": {"raw": str(raw)}}:  # OpenRouter
            return f"{message}: {raw}"
        case {"loc": [*place], "msg": str(message)}:
            return f"{'.'.join(map(str, place))}: {message}"
        case {"message": inner} | {"error": inner} | {"detail": inner}:
            return _words(inner, depth - 1)
        case [*items]:
            return "; ".join(filter(None, (_words(item, depth - 1) for item in items[:3])))
        case dict():
            return ", ".join(f"{name}: {one}" for name, one in body.items() if isinstance(one, str))
    return ""


def _code(body: object) -> int | None:
    """Returns the HTTP status that an error within a stream names."""
    code = str(body.get("code", body.get("status_code"))) if isinstance(body, Mapping) else ""
    return int(code) if re.fullmatch(r"[45]\d\d", code, re.ASCII) else None


def _too_long(status: int | None, words: str, error: openai.APIError) -> bool:
    if status in (401, 403, 404, 429):
        return False
    if asked := _ANSWER_TOO_LONG.search(words):
        return int(asked[1]) < int(asked[2])
    if _ANSWER.search(words) and not _PROMPT.search(words):
        return False
    return status == 413 or bool(_TOO_LONG.search(f"{error.code} {error.type} {words}"))


def _shown(words: str, sent: str) -> str:
    """Returns a message on one line, bounded, with `…` for each word that stands in `sent`.

    Words that any message may have are kept.
    """
    sent = sent.lower()
    sent_words = set(_WORD.findall(sent))

    def checked(word: re.Match[str]) -> str:
        lower = word[0].lower()
        if lower in _ORDINARY:
            return word[0]
        part = (len(lower) > 3 or not lower.isascii()) and lower in sent
        return "…" if part or lower in sent_words else word[0]

    text = _WORD.sub(checked, " ".join(_unescaped(words).split()))
    text = re.sub(r"…(?:\W*…)+", "…", "".join(filter(str.isprintable, text)))
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}…"


def _unescaped(text: str) -> str:
    r"""Returns a text that quotes JSON with its letters: `\u00e9` → é, `\n` → a blank."""
    letters = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
    return re.sub(r"\\+[nrtbf]", " ", letters)
