"""Prepares the evidence of one report for writing and grounding; parses each distinct text once."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from service.arrays import FloatArray
from service.reporting.evidence import Evidence
from service.reporting.statements import Statement

TEMPERATURE = 0.1
"""Fall of the cosine, from the nearest study on, that divides a study's weight by e."""


class EvidenceSet:
    """The passages of one report's evidence, with their statements, vectors and weights.

    rows: for each passage, the row of its text in `statements` and `vectors`.
    """

    def __init__(self, passages: Sequence[Evidence]) -> None:
        self.passages = tuple(passages)
        self._distinct = {passage.text: passage for passage in self.passages}
        self._row = {text: row for row, text in enumerate(self._distinct)}
        self.rows = [self._row[passage.text] for passage in self.passages]

    @cached_property
    def statements(self) -> list[Statement]:
        """What each distinct text states."""
        return [Statement.of(text) for text in self._distinct]

    @cached_property
    def vectors(self) -> FloatArray:
        """The stored embedding of each distinct text, float32[T,D]."""
        return np.stack([passage.vector for passage in self._distinct.values()])

    @cached_property
    def _weights(self) -> dict[str, float]:
        return study_weights(self.passages)

    def row_of(self, text: str) -> int | None:
        """Returns the row of a text; None unless a passage has the same text."""
        return self._row.get(text)

    def weight(self, numbers: Iterable[int]) -> float:
        """Returns the weight, 0…1, of the studies that the passages of these numbers come from."""
        wanted = {*numbers}
        studies = {passage.study_id for passage in self.passages if passage.number in wanted}
        return sum(weight for study, weight in self._weights.items() if study in studies)


def study_weights(passages: Sequence[Evidence]) -> dict[str, float]:
    """Returns the weight of each study by its nearness to the radiograph; their sum is 1.

    A softmax of the cosines: at `TEMPERATURE` 0.1, a study that is 0.1 farther than another counts
    1/e as much.
    """
    scores = {passage.study_id: passage.score for passage in passages}
    best = max(scores.values(), default=0.0)
    raw = {study: float(np.exp((score - best) / TEMPERATURE)) for study, score in scores.items()}
    total = sum(raw.values())
    return {study: weight / total for study, weight in raw.items()}
