"""What a report is asked of, and what it is."""

from dataclasses import dataclass
from typing import Literal

from service.cases.schema import CaseFilter
from service.inference.zero_shot import Finding
from service.reporting.evidence import Evidence, Subject
from service.reporting.grounding import Sentence

DEFAULT_K = 8


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a report is asked of. `where` restricts the cases that evidence may come from."""

    k: int = DEFAULT_K
    subject: Subject = Subject()
    where: CaseFilter = CaseFilter()
    indication: str | None = None
    comparison: str | None = None
    seed: int = 0
    min_score: float | None = None
    """Cases that are farther, by the cosine of radiograph and report, are no evidence."""
    diversity: float | None = None
    """See `service.cases.schema.Search`."""
    fallback: Literal["extractive"] | None = None
    """Who writes where the language model fails; None: its error is the answer."""
    ungrounded: Literal["drop", "flag"] = "drop"
    """Whether sentences that the evidence does not support are withheld, or stay with their status.
    """

    def wants(self, sentence: Sentence) -> bool:
        """Whether the report is to have the sentence."""
        return self.ungrounded == "flag" or sentence.status == "supported"


@dataclass(frozen=True, slots=True)
class Generator:
    """Who wrote the draft."""

    kind: Literal["vllm", "extractive"]
    model: str
    passages: int
    """How many of the evidence it was given, nearest first; a language model reads each statement
    once."""
    fallback: str | None = None
    """Why the language model did not write it, where it was to."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What it takes to make the draft again."""

    bundle_id: str
    prompt: str | None
    """Version and sha256 of the prompt; None for the extractive writer."""
    seed: int
    k: int
    software: str
    record: str
    """Of the audit log."""


@dataclass(frozen=True, slots=True)
class Report:
    """A finished report. Every sentence cites evidence and is supported by it, or says that it is
    not, where the request wants such sentences flagged.

    withheld: sentences that the writer proposed and grounding refused.
    prior: what the language model read of the prior study.
    abstained: why there is no report, or None.
    """

    findings: tuple[Sentence, ...]
    impression: tuple[Sentence, ...]
    withheld: tuple[Sentence, ...]
    evidence: tuple[Evidence, ...]
    prior: tuple[str, ...]
    classification: tuple[Finding, ...]
    generator: Generator
    provenance: Provenance
    abstained: str | None
