"""Defines the sentences of a report, as a writer drafts them and as grounding judges them."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from service.reporting.regions import Region

ReportPart = Literal["findings", "impression"]
Status = Literal["supported", "contradicted", "unsupported"]
Agreement = Literal["agrees", "disagrees"]
PARTS: tuple[ReportPart, ...] = ("findings", "impression")
"""The parts of a report, in the order of reading."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A sentence as a writer proposes it, before grounding.

    evidence: the numbers of the passages that it cites.
    """

    part: ReportPart
    text: str
    evidence: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a report as grounding judges it.

    evidence: the numbers of the cited passages that gave the verdict.
    support: 0…1, how nearly the best of them says the same.
    against: the numbers of all passages that say the opposite, cited or not.
    """

    text: str
    evidence: tuple[int, ...]
    support: float
    status: Status
    against: tuple[int, ...] = ()
    zero_shot: Agreement | None = None
    """Whether the zero-shot findings agree; None unless they are sure of a finding it names."""
    region: Annotated[Region | None, Field(exclude_if=lambda region: region is None)] = field(
        default=None, compare=False
    )
    """Where its finding points, if one map shows it; absent from the JSON otherwise. A sentence
    that is written again without the image has none, and is the same sentence."""

    @property
    def outweighed(self) -> bool:
        """Whether some passages say it, and more of the evidence denies it."""
        return self.status == "contradicted" and not {*self.evidence} <= {*self.against}
