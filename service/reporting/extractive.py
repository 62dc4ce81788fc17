"""The writer without a language model: what most of the nearest reports say, in their own words."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.arrays import Bools, FloatArray
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.reporting.evidence import Evidence, study_weights
from service.reporting.grounding import Draft, Statement, Status, compare

Relations = npt.NDArray[np.str_]

MODEL = "extractive-consensus-1"
SHARE = 0.25
"""Least share of the evidence's weight that must say the same for a sentence to be written."""
MAX_FINDINGS = 6
MAX_IMPRESSIONS = 2


def write(
    evidence: Sequence[Evidence], encoder: Encoder, deadline: Deadline
) -> tuple[list[Draft], list[Draft]]:
    """(findings, impression): the passages with the widest agreement, each citing all that agree.

    A passage's weight is its study's nearness to the radiograph; a study votes once for a
    statement. A statement already made, of whatever severity, or its denial, is not made again.
    """
    if not evidence:
        return [], []
    texts = sorted({item.text for item in evidence})
    vectors = encoder.text_matrix(texts, deadline)
    stated = [Statement.of(text) for text in texts]
    ungraded = [statement.ungraded() for statement in stated]
    place = [texts.index(item.text) for item in evidence]
    agreeing = _relations(stated, vectors, deadline)[np.ix_(place, place)] == "supported"
    relation = _relations(ungraded, vectors, deadline)[np.ix_(place, place)]
    votes = np.array([_votes(evidence, row) for row in agreeing])
    findings = _choose(evidence, relation, votes, "findings", MAX_FINDINGS, settled=[])
    impression = _choose(evidence, relation, votes, "impression", MAX_IMPRESSIONS, findings)
    return (
        [_draft(evidence, agreeing[row], row) for row in findings],
        [_draft(evidence, agreeing[row], row) for row in impression],
    )


def _relations(stated: Sequence[Statement], vectors: FloatArray, deadline: Deadline) -> Relations:
    """str[N,N]: how statement j stands to statement i."""
    return np.array([_relation(i, stated, vectors, deadline) for i in range(len(stated))])


def _relation(
    one: int, stated: Sequence[Statement], vectors: FloatArray, deadline: Deadline
) -> list[Status]:
    """How each statement stands to one of them."""
    deadline.check()
    cosines = zip(stated, (vectors @ vectors[one]).tolist(), strict=True)
    return [compare(stated[one], other, cosine)[0] for other, cosine in cosines]


def _votes(evidence: Sequence[Evidence], row: Bools) -> float:
    """Share of the studies' weight that agrees with one passage."""
    weights = study_weights(evidence)
    voters = {item.study_id for item, agrees in zip(evidence, row, strict=True) if agrees}
    return sum(weights[study] for study in voters)


def _choose(
    evidence: Sequence[Evidence],
    relation: Relations,
    votes: npt.NDArray[np.float64],
    section: Literal["findings", "impression"],
    count: int,
    settled: list[int],
) -> list[int]:
    """Rows of at most `count` statements with enough votes, the best one in any case.

    None is said twice, and none denies another or what is `settled`.
    """
    wanted = section == "impression"
    rows = [i for i, item in enumerate(evidence) if item.concludes == wanted]
    rows.sort(key=lambda row: (-votes[row], evidence[row].number))
    chosen: list[int] = []
    for row in rows:
        said = _stands(relation, row, chosen, "supported")
        denied = _stands(relation, row, [*chosen, *settled], "contradicted")
        enough = votes[row] >= SHARE or not chosen
        if enough and not said and not denied and len(chosen) < count:
            chosen.append(row)
    return chosen


def _stands(relation: Relations, row: int, others: list[int], status: Status) -> bool:
    """Whether the row stands so to any of the others, in either direction."""
    return any(status in (relation[row, other], relation[other, row]) for other in others)


def _draft(evidence: Sequence[Evidence], agrees: Bools, row: int) -> Draft:
    """The passage's own words, citing itself first and then what agrees with it."""
    others = [item.number for item, same in zip(evidence, agrees, strict=True) if same]
    own = evidence[row].number
    return Draft(evidence[row].text, (own, *(number for number in others if number != own)))
