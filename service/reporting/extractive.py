"""Writes a report without a language model: what most of the nearest reports say, word for word."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.arrays import Bools, FloatArray
from service.deadline import Deadline
from service.reporting.evidence import Evidence
from service.reporting.evidence_set import EvidenceSet
from service.reporting.sentences import Draft, ReportPart, Status
from service.reporting.statements import Statement, compare
from service.reporting.writer import WritingTask, WrittenBy
from service.telemetry import timed

Relations = npt.NDArray[np.str_]

MODEL = "extractive-consensus-1"
MIN_SHARE = 0.25
"""Least share of the evidence's weight that must say the same for a sentence to be written."""
MAX_SENTENCES: dict[ReportPart, int] = {"findings": 6, "impression": 2}
"""Most sentences of each part of a report."""


@dataclass(frozen=True, slots=True)
class ExtractiveWriter:
    """Writes the passages with the widest agreement, each citing all that agree.

    fallback: why the language model did not write, if it should have.
    """

    fallback: str | None = None

    def write(
        self, task: WritingTask, deadline: Deadline
    ) -> Generator[WrittenBy | Draft, None, None]:
        """Yields who writes, then the sentences (see `service.reporting.writer.Writer`)."""
        passages = len(task.evidence.passages)
        with timed("extract"):
            drafts = consensus(task.evidence, deadline)
        yield WrittenBy("extractive", MODEL, passages, self.fallback)
        yield from drafts


def consensus(evidence: EvidenceSet, deadline: Deadline) -> list[Draft]:
    """Returns the passages with the widest agreement: findings first, then the impression.

    A passage's weight is its study's nearness to the radiograph; a study votes once for a
    statement. A statement already made, of whatever severity, or its denial, is not made again.
    """
    passages = evidence.passages
    if not passages:
        return []
    rows = np.ix_(evidence.rows, evidence.rows)
    ungraded = [statement.ungraded() for statement in evidence.statements]
    agreeing = _relations(evidence.statements, evidence.vectors, deadline)[rows] == "supported"
    relations = _relations(ungraded, evidence.vectors, deadline)[rows]
    votes = [evidence.weight(_numbers(passages, row)) for row in agreeing]
    findings = _choose(passages, relations, votes, "findings", settled=[])
    impression = _choose(passages, relations, votes, "impression", settled=findings)
    return [
        *(_draft(passages, agreeing[row], row, "findings") for row in findings),
        *(_draft(passages, agreeing[row], row, "impression") for row in impression),
    ]


def _relations(
    statements: Sequence[Statement], vectors: FloatArray, deadline: Deadline
) -> Relations:
    """Returns str[N,N]: the status of statement i by statement j."""
    return np.array([_relations_of(i, statements, vectors, deadline) for i in range(len(vectors))])


def _relations_of(
    row: int, statements: Sequence[Statement], vectors: FloatArray, deadline: Deadline
) -> list[Status]:
    """Returns the status of one statement by each of them."""
    deadline.check()
    cosines = zip(statements, (vectors @ vectors[row]).tolist(), strict=True)
    return [compare(statements[row], other, cosine)[0] for other, cosine in cosines]


def _numbers(passages: Sequence[Evidence], agrees: Bools) -> list[int]:
    """Returns the numbers of the passages that agree."""
    return [item.number for item, same in zip(passages, agrees, strict=True) if same]


def _choose(
    passages: Sequence[Evidence],
    relations: Relations,
    votes: Sequence[float],
    part: ReportPart,
    settled: list[int],
) -> list[int]:
    """Returns the rows of statements with enough votes, and the best one in any case.

    No statement is chosen twice, and none that denies another or one that is `settled`.
    """
    wanted = part == "impression"
    rows = [row for row, item in enumerate(passages) if item.concludes == wanted]
    rows.sort(key=lambda row: (-votes[row], passages[row].number))
    chosen: list[int] = []
    for row in rows:
        said = _relates(relations, row, chosen, "supported")
        denied = _relates(relations, row, [*chosen, *settled], "contradicted")
        enough = votes[row] >= MIN_SHARE or not chosen
        if enough and not said and not denied and len(chosen) < MAX_SENTENCES[part]:
            chosen.append(row)
    return chosen


def _relates(relations: Relations, row: int, others: list[int], status: Status) -> bool:
    """Decides whether the row has this status by one of the others, or one of them by the row."""
    return any(status in (relations[row, other], relations[other, row]) for other in others)


def _draft(passages: Sequence[Evidence], agrees: Bools, row: int, part: ReportPart) -> Draft:
    """Returns the passage's own words, citing itself first and then the passages that agree."""
    own = passages[row].number
    others = [number for number in _numbers(passages, agrees) if number != own]
    return Draft(part, passages[row].text, (own, *others))
