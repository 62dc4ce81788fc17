"""A language model's answer, read as it is written: each sentence once the next one begins."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from service.reporting.grounding import SECTIONS, Draft, Proposed


class _Sentence(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sentence: Annotated[str, Field(max_length=2000)]
    evidence: list[int]


class _Report(BaseModel):
    """What `service.reporting.prompt.ANSWER_SCHEMA` asks for."""

    model_config = ConfigDict(extra="forbid")

    findings: list[_Sentence]
    impression: list[_Sentence]

    def sentences(self) -> Iterator[Proposed]:
        """Those that say anything, in order."""
        for section in SECTIONS:
            for one in getattr(self, section):
                if text := " ".join(one.sentence.split()):
                    yield Proposed(section, Draft(text, tuple(one.evidence)))


def sentences(pieces: Iterable[str]) -> Iterator[Proposed]:
    """The sentences of a JSON report that arrives in pieces; raises ValueError if it is none."""
    text = ""
    told: set[Proposed] = set()
    for piece in pieces:
        text += piece
        if "{" in piece:
            yield from _new(_begun(text), told)
    yield from _new(_Report.model_validate_json(text), told)


def _new(report: _Report, told: set[Proposed]) -> Iterator[Proposed]:
    for proposed in report.sentences():
        if proposed not in told:
            told.add(proposed)
            yield proposed


def _begun(text: str) -> _Report:
    """What there is of a report, less its last sentence, which may go on; empty if it is none."""
    try:
        parsed: dict[str, Any] = from_json(text, allow_partial=True)
        next(reversed(parsed.values())).pop()
        return _Report.model_validate({"findings": [], "impression": []} | parsed)
    except (ValueError, TypeError, AttributeError, IndexError, StopIteration):
        return _Report(findings=[], impression=[])
