"""Reads a language model's JSON report while it is written: each sentence once the next begins."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from service.reporting.sentences import PARTS, Draft


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
    """Yields each distinct sentence of a JSON report that arrives in pieces.

    Raises ValueError if the whole text is not such a report.
    """
    text = ""
    seen: set[Draft] = set()
    for piece in pieces:
        text += piece
        if "{" in piece:
            yield from _unseen(_finished(text), seen)
    yield from _unseen(_Answer.model_validate_json(text), seen)


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
