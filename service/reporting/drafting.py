"""A language model's answer, read as it is written: each sentence as soon as it is whole."""

from collections.abc import Iterable, Iterator
from itertools import islice
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
                if text := one.sentence.strip():
                    yield Proposed(section, Draft(text, tuple(one.evidence)))


def sentences(pieces: Iterable[str]) -> Iterator[Proposed]:
    """The sentences of a JSON report that arrives in pieces; raises ValueError if it is none."""
    text, told = "", 0
    for piece in pieces:
        text += piece
        if "}" in piece:
            whole = list(_begun(text).sentences())
            yield from whole[told:]
            told = max(told, len(whole))
    yield from islice(_Report.model_validate_json(text).sentences(), told, None)


def _begun(text: str) -> _Report:
    """What there is of a report, less its last sentence, which may go on; empty if it is none."""
    try:
        parsed: dict[str, Any] = {"findings": [], "impression": []}
        parsed |= from_json(text, allow_partial=True)
        parsed["impression" if parsed["impression"] else "findings"].pop()
        return _Report.model_validate(parsed)
    except (ValueError, TypeError, AttributeError, IndexError):
        return _Report(findings=[], impression=[])
