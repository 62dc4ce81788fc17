"""Defines a report and the request for one."""

from dataclasses import dataclass
from typing import Literal

from service.cases.schema import CaseFilter
from service.errors import RequestMalformed
from service.imaging.deidentify import StudyRef
from service.inference.zero_shot import Finding
from service.reporting.background import PriorFrom
from service.reporting.evidence import Evidence, Subject
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy

DEFAULT_K = 8
"""Studies that evidence comes from, unless the request says otherwise."""
LONGEST_NOTE = 2000
"""Characters: the longest indication or comparison."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A request for a report. `where` restricts the cases that evidence may come from.

    Raises RequestMalformed for an indication or a comparison over `LONGEST_NOTE`.
    """

    k: int = DEFAULT_K
    subject: Subject = Subject()
    where: CaseFilter = CaseFilter()
    indication: str | None = None
    comparison: str | None = None
    seed: int = 0
    min_score: float | None = None
    """Least cosine of the radiograph and a case's report; farther cases are not evidence."""
    diversity: float | None = None
    """Share of difference, rather than nearness, by which evidence is chosen: see
    `service.cases.schema.Search`."""
    fallback: Literal["extractive"] | None = None
    """Writer that takes over if the language model fails; None: the model's error is raised."""
    ungrounded: Literal["drop", "flag"] = "drop"
    """Whether unsupported sentences are withheld, or stay in the report with their status."""
    asked_by: str | None = None
    """Name of the caller's API key, for the audit log."""

    def __post_init__(self) -> None:
        notes = {"indication": self.indication, "comparison": self.comparison}
        for name, note in notes.items():
            if len(note or "") > LONGEST_NOTE:
                raise RequestMalformed(
                    f"{name}: it has {len(note or '')} characters, over the limit of "
                    f"{LONGEST_NOTE}. Shorten it."
                )

    def wants(self, sentence: Sentence) -> bool:
        """Decides whether the sentence may stand in the report."""
        return self.ungrounded == "flag" or sentence.status == "supported"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What it takes to make a report again."""

    bundle_id: str
    prompt: str | None
    """Version and sha256 of the prompt; None for the extractive writer."""
    seed: int
    k: int
    software: str
    record: str
    """Id of the report's record in the audit log."""


@dataclass(frozen=True, slots=True)
class Report:
    """A finished report.

    Every sentence cites evidence that supports it; if the request flags ungrounded sentences, each
    has its own status instead.

    withheld: sentences that the writer drafted and grounding refused.
    prior: what the language model read of the prior study.
    prior_study_id, prior_from: that study, and who named it; None without one.
    abstained: why there is no report, or None.
    warnings: reasons to doubt that an image is an upright chest radiograph.
    """

    findings: tuple[Sentence, ...]
    impression: tuple[Sentence, ...]
    withheld: tuple[Sentence, ...]
    evidence: tuple[Evidence, ...]
    prior: tuple[str, ...]
    classification: tuple[Finding, ...]
    generator: WrittenBy
    provenance: Provenance
    abstained: str | None
    warnings: tuple[str, ...] = ()
    prior_study_id: StudyRef | None = None
    prior_from: PriorFrom | None = None
