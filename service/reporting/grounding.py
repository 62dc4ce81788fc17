"""Does each sentence follow from the passages it cites?

Both are read as clauses (`service.reporting.clauses`). A sentence is `supported` when a cited
passage says every one of its clauses: nearly the same words (all of them, or enough together with
the cosine of the text tower's embeddings), with the same polarity, sides and other particulars;
`contradicted` when such a passage says the opposite of one; else `unsupported`. What most of the
evidence denies, by the weight of its studies, is contradicted too, whichever passage says it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.inference.zero_shot import Finding
from service.reporting.clauses import NORMAL, SEVERITY, SIDES, Clause, read
from service.reporting.evidence import Evidence, study_weights
from service.reporting.polarity import plain

Status = Literal["supported", "contradicted", "unsupported"]
Section = Literal["findings", "impression"]
Agreement = Literal["agrees", "disagrees"]
SECTIONS: tuple[Section, ...] = ("findings", "impression")
SUPPORT = 0.6
EVEN = 0.5
"""A calibrated probability from which on a finding counts as present."""
_STRONGEST_FIRST: tuple[Status, ...] = ("supported", "contradicted", "unsupported")
_WEIGHTIEST_LAST: tuple[Status, ...] = ("unsupported", "supported", "contradicted")
_SILENT: tuple[Status, float] = ("unsupported", 0.0)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a report with the numbers of the evidence it cites.

    support: 0…1, how nearly the best cited passage says the same. against: all evidence that says
    the opposite, cited or not.
    """

    text: str
    evidence: tuple[int, ...]
    support: float
    status: Status
    against: tuple[int, ...] = ()
    zero_shot: Agreement | None = None
    """What the zero-shot findings say of it, where they are sure of a finding that it names."""

    @property
    def outweighed(self) -> bool:
        """Whether some passages say it, and more of the evidence denies it."""
        return self.status == "contradicted" and not {*self.evidence} <= {*self.against}


@dataclass(frozen=True, slots=True)
class Draft:
    """A sentence as a writer proposes it, before grounding."""

    text: str
    evidence: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Proposed:
    """A draft with the section of the report that it is meant for."""

    section: Section
    draft: Draft


class Grounding:
    """The evidence of one report and its zero-shot findings, read once, to check drafts against."""

    def __init__(
        self,
        evidence: Sequence[Evidence],
        findings: Sequence[Finding],
        encoder: Encoder,
        deadline: Deadline,
    ) -> None:
        self._encoder, self._deadline = encoder, deadline
        self._study = {item.number: item.study_id for item in evidence}
        self._weights = study_weights(evidence)
        texts = sorted({item.text for item in evidence})
        self._row = {item.number: texts.index(item.text) for item in evidence}
        self._stated = [Statement.of(text) for text in texts]
        self._vectors = encoder.text_matrix(texts, deadline) if texts else None
        self._findings = [
            (words, (finding.probability or 0) >= EVEN)
            for finding in findings
            if finding.calibrated and not finding.abstained and (words := _named(finding.label))
        ]

    def check(self, drafts: Sequence[Draft]) -> list[Sentence]:
        """Check each draft against what it cites; citations of evidence that does not exist go."""
        if self._vectors is None or not drafts:
            return [Sentence(draft.text, (), 0.0, "unsupported") for draft in drafts]
        vectors = self._encoder.text_matrix([draft.text for draft in drafts], self._deadline)
        cosines = (vectors @ self._vectors.T).tolist()
        return [self._check(draft, row) for draft, row in zip(drafts, cosines, strict=True)]

    def _check(self, draft: Draft, cosines: Sequence[float]) -> Sentence:
        """The strongest verdict among the cited passages, citing only those that gave it."""
        stated = Statement.of(draft.text)
        by_row = [compare(stated, *one) for one in zip(self._stated, cosines, strict=True)]
        verdicts = {number: by_row[row] for number, row in self._row.items()}
        status, cited = _strongest({n: verdicts[n] for n in draft.evidence if n in verdicts})
        against = [n for n, (verdict, _) in verdicts.items() if verdict == "contradicted"]
        agreeing = [n for n, (verdict, _) in verdicts.items() if verdict == "supported"]
        if status == "supported" and self._weight(against) > self._weight(agreeing):
            status = "contradicted"
        support = max(cited.values(), default=0.0)
        zero_shot = self._agreement(stated)
        return Sentence(draft.text, tuple(cited), support, status, tuple(against), zero_shot)

    def _weight(self, numbers: Sequence[int]) -> float:
        """Of the studies that these passages are of."""
        return sum(self._weights[study] for study in {self._study[number] for number in numbers})

    def _agreement(self, stated: "Statement") -> Agreement | None:
        """Whether the findings are as each clause says that names one without doubt.

        A denial of a particular, such as "no large effusion", denies no finding.
        """
        agreed = [
            present == (clause.polarity == "affirmed")
            for clause in stated.clauses
            for words, present in self._findings
            if words <= clause.words and _is_plain(clause)
        ]
        if not agreed:
            return None
        return "agrees" if all(agreed) else "disagrees"


def _strongest(verdicts: Mapping[int, tuple[Status, float]]) -> tuple[Status, dict[int, float]]:
    """The strongest of the verdicts, and who gave it, how nearly."""
    for status in _STRONGEST_FIRST:
        agreeing = {number: s for number, (verdict, s) in verdicts.items() if verdict == status}
        if agreeing:
            return status, agreeing
    return "unsupported", {}


def _named(label: str) -> frozenset[str]:
    """The words of a finding's name; none for a label that denies, such as "no finding"."""
    clauses = Statement.of(label).clauses
    if len(clauses) == 1 and clauses[0].polarity == "affirmed":
        return clauses[0].words
    return frozenset()


def _is_plain(clause: Clause) -> bool:
    """Whether it affirms, or denies altogether, without doubt."""
    whole = clause.polarity == "denied" and not clause.particulars
    return not clause.doubted and (whole or clause.polarity == "affirmed")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sentence states, as the rules read it."""

    text: str
    """The sentence in plain lower case; the same text says the same, however it is read."""
    clauses: tuple[Clause, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a sentence."""
        return cls._of_plain(plain(text).rstrip(". "))

    @classmethod
    def _of_plain(cls, text: str) -> Self:
        return cls(text, read(text))

    def ungraded(self) -> Self:
        """The same statement less its severity."""
        return self._of_plain(" ".join(SEVERITY.sub(" ", self.text).split()))


def compare(statement: Statement, passage: Statement, cosine: float) -> tuple[Status, float]:
    """Whether the passage says what the statement says, and how nearly, 0…1.

    cosine: of the two texts' embeddings. A statement is supported when each of its clauses is,
    and contradicted when one of them is.
    """
    if not statement.clauses:
        return "unsupported", 0.0
    if statement.text == passage.text:
        return "supported", 1.0
    verdicts = [_judge(clause, passage.clauses, cosine) for clause in statement.clauses]
    opposed = [support for status, support in verdicts if status == "contradicted"]
    if opposed:
        return "contradicted", max(opposed)
    every = all(status == "supported" for status, _ in verdicts)
    return "supported" if every else "unsupported", min(support for _, support in verdicts)


def _judge(clause: Clause, passage: Sequence[Clause], cosine: float) -> tuple[Status, float]:
    """What a passage says of one clause; an opposing clause of it outweighs the others."""
    verdicts = [_relation(clause, other, cosine) for other in passage]
    return max(verdicts, key=lambda v: (_WEIGHTIEST_LAST.index(v[0]), v[1]), default=_SILENT)


def _relation(clause: Clause, other: Clause, cosine: float) -> tuple[Status, float]:
    """How a passage's clause stands to one clause of a statement.

    An affirmation follows from one that says as much or more. A denial neither adds nor leaves
    out: "No effusion" does not follow from "No loculated effusion".
    """
    if "unclear" in (clause.polarity, other.polarity):
        return _SILENT
    if clause.polarity != other.polarity:
        denial, finding = (clause, other) if clause.polarity == "denied" else (other, clause)
        near = _nearness(denial.words - {NORMAL}, finding.words, cosine)
        opposed = near >= SUPPORT and denial.particulars <= finding.particulars
        return "contradicted" if opposed else "unsupported", near
    near = _nearness(clause.words, other.words, cosine)
    if clause.polarity == "denied":
        near = min(near, _nearness(other.words, clause.words, cosine))
    same = _denial_agrees if clause.polarity == "denied" else _finding_agrees
    follows = near >= SUPPORT and clause.doubted == other.doubted and same(clause, other)
    return "supported" if follows else "unsupported", near


def _nearness(words: frozenset[str], among: frozenset[str], cosine: float) -> float:
    """Share of the words that the others hold, weighted by the cosine; all of them are enough."""
    share = len(words & among) / max(1, len(words))
    return 1.0 if share == 1 else share * max(cosine, 0.0)


def _finding_agrees(clause: Clause, other: Clause) -> bool:
    """Whether the clause adds no particular, and no side that its list names is the other one."""
    sides = other.particulars & SIDES
    elsewhere = clause.implied and sides and not clause.implied & sides
    return clause.particulars <= other.particulars and not elsewhere


def _denial_agrees(clause: Clause, other: Clause) -> bool:
    """Whether both call normal, or deny, the same particulars, and the other one surely does."""
    return (
        (NORMAL in clause.words) == (NORMAL in other.words)
        and clause.particulars == other.particulars
        and other.implied <= clause.particulars | clause.implied
    )
