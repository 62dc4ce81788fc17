"""Checks whether each drafted sentence follows from the passages it cites.

A sentence is `supported` when one cited passage says each of its clauses and has each of its words,
`contradicted` when a cited passage says the opposite of a clause, and otherwise `unsupported`
(`service.reporting.statements`). So no supported sentence joins what two studies say. It becomes
`contradicted` when the studies that deny it weigh more than those that say it, cited or not.

Two flags change no verdict: whether the zero-shot findings agree, and whether the finding's map
lies on the side that the sentence names (`service.reporting.regions`).
"""

from collections.abc import Mapping, Sequence

from service.cases.schema import Vector
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.inference.zero_shot import Finding
from service.reporting.clauses import Clause
from service.reporting.evidence_set import EvidenceSet
from service.reporting.regions import Pointing, Region, Side
from service.reporting.sentences import Agreement, Draft, Sentence, Status
from service.reporting.statements import Statement, compare
from service.reporting.wording import SIDES

PRESENT = 0.5
"""Calibrated probability from which a zero-shot finding counts as present."""
_STRONGEST_FIRST: tuple[Status, ...] = ("supported", "contradicted", "unsupported")


class Grounding:
    """What the drafts of one report are checked against.

    Its evidence, its zero-shot findings and, if there are any, the maps of its frontal view.
    """

    def __init__(
        self,
        evidence: EvidenceSet,
        classification: Sequence[Finding],
        encoder: Encoder,
        deadline: Deadline,
        pointing: Pointing | None = None,
    ) -> None:
        self._evidence, self._encoder, self._deadline = evidence, encoder, deadline
        self._pointing = pointing
        self._classified = [
            (words, (finding.probability or 0) >= PRESENT)
            for finding in classification
            if finding.calibrated and not finding.abstained and (words := _named(finding.label))
        ]

    def check(self, draft: Draft) -> Sentence:
        """Judges a draft by the passages it cites; drops citations of unknown numbers.

        Returns the strongest verdict of the cited passages, and cites those that gave it.
        """
        evidence = self._evidence
        if not evidence.passages:
            return Sentence(draft.text, (), 0.0, "unsupported")
        statement, vector = self._read(draft.text)
        verdicts = self._verdicts(statement, vector)
        status, cited = _strongest({n: verdicts[n] for n in draft.evidence if n in verdicts})
        against = [n for n, (verdict, _) in verdicts.items() if verdict == "contradicted"]
        agreeing = [n for n, (verdict, _) in verdicts.items() if verdict == "supported"]
        if status == "supported" and evidence.weight(against) > evidence.weight(agreeing):
            status = "contradicted"
        return Sentence(
            text=draft.text,
            evidence=tuple(cited),
            support=max(cited.values(), default=0.0),
            status=status,
            against=tuple(against),
            zero_shot=self._agreement(statement),
            region=self._region(statement),
        )

    def _read(self, text: str) -> tuple[Statement, Vector]:
        """Returns what a sentence states and its embedding; a passage's own words are known."""
        row = self._evidence.row_of(text)
        if row is not None:
            return self._evidence.statements[row], self._evidence.vectors[row]
        return Statement.of(text), self._encoder.texts([text], self._deadline)[0].vector

    def _verdicts(self, statement: Statement, vector: Vector) -> dict[int, tuple[Status, float]]:
        """Returns the verdict of every passage on a statement, by the passage's number."""
        evidence = self._evidence
        cosines = (evidence.vectors @ vector).tolist()
        by_row = [
            compare(statement, passage, cosine)
            for passage, cosine in zip(evidence.statements, cosines, strict=True)
        ]
        numbers = (passage.number for passage in evidence.passages)
        return {number: by_row[row] for number, row in zip(numbers, evidence.rows, strict=True)}

    def _agreement(self, statement: Statement) -> Agreement | None:
        """Decides whether the zero-shot findings agree with every clause that names one plainly.

        Example: "No effusion" disagrees with a probable effusion; "No large effusion" and
        "Possible effusion" say too little to agree or to disagree.
        """
        agreed = [
            present == (clause.polarity == "affirmed")
            for clause in statement.clauses
            for words, present in self._classified
            if words <= clause.words and _is_plain(clause)
        ]
        if not agreed:
            return None
        return "agrees" if all(agreed) else "disagrees"

    def _region(self, statement: Statement) -> Region | None:
        """Returns where a statement points that affirms one finding with a map, and no other."""
        if self._pointing is None:
            return None
        affirmed = [c for c in statement.clauses if c.polarity == "affirmed" and not c.doubted]
        about = {
            finding: clauses
            for finding in self._pointing.maps
            if (words := _named(finding))
            and (clauses := [clause for clause in affirmed if words <= clause.words])
        }
        if len(about) != 1:
            return None
        ((finding, clauses),) = about.items()
        return self._pointing.region(finding, _side(clauses))


def _strongest(verdicts: Mapping[int, tuple[Status, float]]) -> tuple[Status, dict[int, float]]:
    """Returns the strongest status, and the support by number of the passages that gave it."""
    for status in _STRONGEST_FIRST:
        agreeing = {number: s for number, (verdict, s) in verdicts.items() if verdict == status}
        if agreeing:
            return status, agreeing
    return "unsupported", {}


def _named(label: str) -> frozenset[str]:
    """Returns the words of a finding's name; none for a label that denies ("no finding")."""
    clauses = Statement.of(label).clauses
    if len(clauses) == 1 and clauses[0].polarity == "affirmed":
        return clauses[0].words
    return frozenset()


def _side(clauses: Sequence[Clause]) -> Side | None:
    """Returns the one side that the clauses name: "small left effusion" → left."""
    words = {word for c in clauses for particular in c.particulars for word in particular.split()}
    named = words & SIDES
    if named == {"left"}:
        return "left"
    return "right" if named == {"right"} else None


def _is_plain(clause: Clause) -> bool:
    """Decides whether a clause affirms, or denies altogether, without doubt."""
    denies_all = clause.polarity == "denied" and not clause.particulars
    return not clause.doubted and (denies_all or clause.polarity == "affirmed")
