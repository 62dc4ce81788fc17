"""Does each sentence follow from the passages it cites?

A sentence is `supported` when a cited passage says nearly the same (cosine of the text tower's
embeddings, or word overlap) with the same polarity, and every laterality and number it states
stands in that passage; `contradicted` when such a passage says the opposite; else `unsupported`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from service.inference.batching import Deadline
from service.inference.encoder import Encoder
from service.reporting.evidence import Evidence, FloatArray
from service.reporting.polarity import Polarity, polarity

Status = Literal["supported", "contradicted", "unsupported"]
SUPPORT = 0.6
_STRONGEST_FIRST: tuple[Status, ...] = ("supported", "contradicted", "unsupported")
_WORD = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?")
_SEVERITIES = frozenset({"mild", "small", "moderate", "severe", "large"})
_PARTICULAR = re.compile(
    r"\b(?:left|right|bilateral|upper|lower|mid(?:dle)?|apical|basal"
    rf"|{'|'.join(sorted(_SEVERITIES))}|\d+(?:\.\d+)?)\b"
)
_FILLER = frozenset({
    "a", "an", "and", "are", "at", "be", "been", "by", "evidence", "for", "from", "has",
    "have", "in", "is", "it", "no", "not", "of", "on", "or", "seen", "shows", "that", "the",
    "there", "this", "to", "was", "were", "which", "with", "without",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a report with the numbers of the evidence it cites.

    support: 0…1, how nearly the best cited passage says the same.
    """

    text: str
    evidence: tuple[int, ...]
    support: float
    status: Status


@dataclass(frozen=True, slots=True)
class Draft:
    """A sentence as a writer proposes it, before grounding."""

    text: str
    evidence: tuple[int, ...]


def ground(
    drafts: Sequence[Draft], evidence: Sequence[Evidence], encoder: Encoder, deadline: Deadline
) -> list[Sentence]:
    """Check each draft against what it cites; citations of evidence that does not exist go."""
    known = {item.number: item for item in evidence}
    cited = {number for draft in drafts for number in draft.evidence if number in known}
    texts = sorted({draft.text for draft in drafts} | {known[number].text for number in cited})
    if not texts:
        return []
    vectors = dict(zip(texts, encoder.text_matrix(texts, deadline), strict=True))
    return [_ground(draft, known, vectors) for draft in drafts]


def _ground(
    draft: Draft, known: Mapping[int, Evidence], vectors: Mapping[str, FloatArray]
) -> Sentence:
    """The strongest verdict among the cited passages, citing only those that gave it."""
    stated = Statement.of(draft.text)
    cited = [number for number in draft.evidence if number in known]
    verdicts = {}
    for number in cited:
        passage = known[number].text
        cosine = float(vectors[draft.text] @ vectors[passage])
        verdicts[number] = compare(stated, Statement.of(passage), cosine)
    for status in _STRONGEST_FIRST:
        agreeing = {number: s for number, (verdict, s) in verdicts.items() if verdict == status}
        if agreeing:
            return Sentence(draft.text, tuple(agreeing), max(agreeing.values()), status)
    return Sentence(draft.text, (), 0.0, "unsupported")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sentence states, as the rules read it."""

    words: frozenset[str]
    particulars: frozenset[str]
    """Sides, places, severities and numbers: a statement may not add one of these."""
    polarity: Polarity

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a sentence."""
        lower = text.lower()
        words = frozenset(_WORD.findall(lower)) - _FILLER
        return cls(words, frozenset(_PARTICULAR.findall(lower)), polarity(text))

    def ungraded(self) -> Self:
        """The same statement less its severity."""
        return replace(
            self, words=self.words - _SEVERITIES, particulars=self.particulars - _SEVERITIES
        )


def compare(statement: Statement, passage: Statement, cosine: float) -> tuple[Status, float]:
    """Whether the passage says what the statement says, and how nearly, 0…1.

    cosine: of the two texts' embeddings. The score is the share of the statement's words that the
    passage holds, weighted by the cosine; the same words alone are enough.
    """
    share = len(statement.words & passage.words) / max(1, len(statement.words))
    support = 1.0 if share == 1 else share * max(cosine, 0.0)
    if support < SUPPORT or not statement.particulars <= passage.particulars:
        return "unsupported", support
    if statement.polarity != passage.polarity:
        return "contradicted", support
    return "supported", support
