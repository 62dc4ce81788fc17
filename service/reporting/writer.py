"""Defines what a report is written from, and what a writer is."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from service.deadline import Deadline
from service.inference.zero_shot import Finding
from service.reporting.evidence_set import EvidenceSet
from service.reporting.sentences import Draft


@dataclass(frozen=True, slots=True)
class WritingTask:
    """What a report is written from.

    prior: what an earlier report of the patient says. classification: the zero-shot findings.
    """

    evidence: EvidenceSet
    prior: tuple[str, ...]
    classification: Sequence[Finding]
    indication: str | None
    comparison: str | None
    seed: int


@dataclass(frozen=True, slots=True)
class WrittenBy:
    """Who wrote a draft."""

    kind: Literal["vllm", "extractive"]
    model: str
    passages: int
    """Passages that the writer was given, nearest first; a language model reads each statement
    once."""
    fallback: str | None = None
    """Why the language model did not write the draft, if it should have."""


class Writer(Protocol):
    """Drafts the sentences of reports: a language model or the extractive writer."""

    def write(
        self, task: WritingTask, deadline: Deadline
    ) -> Generator[WrittenBy | Draft, None, None]:
        """Yields who writes, then each sentence as it is written.

        Another WrittenBy begins the draft again: the sentences before it do not count. Closing the
        generator ends the writing.
        """
