"""Reads a language model's JSON report while it is written: each sentence once the next begins.

Models wrap the report: in a code fence, after their thoughts, before a closing word. A report that
begins the answer, or follows only thoughts, a fence or an opening bracket, is read while it is
written. One that follows anything else is read at the end, because what comes before it may turn
out to be thoughts. Thoughts are never read as a report.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from service.reporting.sentences import PARTS, Draft

_NAME = r"(?:\w+:)?(?:think|thinking|thoughts?|reasoning|reflection)"
_TO = r"(?:[^<]|<\|constrain\|>)*<\|message\|>"
_OPENS = (
    rf"<\s*{_NAME}(?:\s[^<>]*)?(?<!/)>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<unused94>"
    rf"|<\|channel\|>\s*(?:analysis|commentary){_TO}|<\|channel>thought"
)
"""Begins a model's thoughts: `<think>` and its variants; tokens of Mistral, Kimi, Cohere, MedGemma,
gpt-oss and Gemma."""
_CLOSES = (
    rf"<\s*/\s*{_NAME}\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<unused95>"
    rf"|<\|channel\|>\s*final{_TO}|assistantfinal|<channel\|>"
)
"""Ends them, also where the beginning stood in the prompt."""
_FENCE = r"(?:```|~~~)\w*"
_TOKEN = re.compile(rf"(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})|\{{", re.IGNORECASE)
_CLOSE = re.compile(_CLOSES, re.IGNORECASE)
_LEAD = re.compile(
    rf"(?:(?>(?:{_OPENS}).*?(?:{_CLOSES}))|{_CLOSES}|{_FENCE}|[\s\ufeff\[])*+"
    r"(?=\{\s*\"(?:findings|impression)\")",
    re.IGNORECASE | re.DOTALL,
)
"""What comes before a report that is read while it is written."""
_TAIL = re.compile(rf"(?:{_CLOSES}|{_FENCE}|<\|\w+\|>|[\s\]])*+", re.IGNORECASE)
"""What may come after a report that ends the answer."""
_JSON = json.JSONDecoder()


class _Sentence(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sentence: Annotated[str, Field(max_length=2000)]
    evidence: list[int]


class _Answer(BaseModel):
    """The object that `service.reporting.prompt.ANSWER_SCHEMA` asks for."""

    model_config = ConfigDict(extra="forbid")

    findings: list[_Sentence]
    impression: list[_Sentence]

    def drafts(self) -> Iterator[Draft]:
        """Yields the sentences that are not blank, in order."""
        for part in PARTS:
            for item in getattr(self, part):
                if text := " ".join(item.sentence.split()):
                    yield Draft(part, text, tuple(item.evidence))


def read_drafts(pieces: Iterable[str]) -> Iterator[Draft]:
    """Yields each distinct sentence of the one JSON report in an answer that arrives in pieces.

    Raises ValueError if the whole answer holds no such report.
    """
    text = ""
    seen: set[Draft] = set()
    for piece in pieces:
        text += piece
        if "{" in piece and (lead := _LEAD.match(text)):
            yield from _unseen(_finished(text[lead.end() :]), seen)
    yield from _unseen(_whole(text), seen)


def _unseen(answer: _Answer, seen: set[Draft]) -> Iterator[Draft]:
    for draft in answer.drafts():
        if draft not in seen:
            seen.add(draft)
            yield draft


def _finished(text: str) -> _Answer:
    """Returns the sentences of an unfinished report, without the last, which may go on.

    Empty if the text is not a report so far.
    """
    try:
        parsed: dict[str, Any] = from_json(text, allow_partial=True)
        next(reversed(parsed.values())).pop()
        return _Answer.model_validate({"findings": [], "impression": []} | parsed)
    except (ValueError, TypeError, AttributeError, IndexError, StopIteration):
        return _Answer(findings=[], impression=[])


def _whole(text: str) -> _Answer:
    """Returns the report of a whole answer; where one begins the answer, no other counts."""
    lead = _LEAD.match(text)
    found = _report_at(text, lead.end()) if lead else next(iter(_reports(text)), None)
    if found is None:
        raise ValueError("The answer holds no report.")
    return found[0]


def _reports(text: str) -> list[tuple[_Answer, int]]:
    """Returns the reports of an answer that are not within its thoughts, and where each ends.

    Thoughts without an end hold no report, except one that is the last thing in the answer: the
    model then forgot to end them.
    """
    found: list[tuple[_Answer, int]] = []
    position, thinking = 0, False
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token["closes"]:
            found.clear()  # the thoughts began in the prompt
        elif token["opens"]:
            closed = _CLOSE.search(text, position)
            position, thinking = (closed.end(), False) if closed else (position, True)
        elif report := _report_at(text, token.start()):
            position = report[1]
            if not thinking or _TAIL.fullmatch(text, position):
                found.append(report)
    return found


def _report_at(text: str, start: int) -> tuple[_Answer, int] | None:
    """Returns the report that begins here and where it ends; None if there is none."""
    try:
        _, end = _JSON.raw_decode(text, start)
        return _Answer.model_validate_json(text[start:end]), end
    except (ValueError, RecursionError):
        return None
