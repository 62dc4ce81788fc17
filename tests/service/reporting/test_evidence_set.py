"""The evidence of one report, prepared for writing and grounding."""

import numpy as np
import pytest

from service.reporting.evidence_set import TEMPERATURE, EvidenceSet, study_weights
from tests.support.evidence import passage


def unit(axis):
    return np.eye(3, dtype=np.float32)[axis]


PASSAGES = [
    passage(1, "No effusion.", study_id="near", score=0.5, vector=unit(0)),
    passage(2, "A nodule.", study_id="near", score=0.5, vector=unit(1)),
    passage(3, "No effusion.", study_id="far", score=0.5 - TEMPERATURE, vector=unit(0)),
]


def test_each_distinct_text_is_one_row():
    evidence = EvidenceSet(PASSAGES)
    assert len(evidence.statements) == len(evidence.vectors) == 2
    for item, row in zip(PASSAGES, evidence.rows, strict=True):
        assert evidence.vectors[row].tolist() == item.vector.tolist()
        assert evidence.statements[row].text == item.text.lower().rstrip(".")


def test_a_text_has_a_row_only_where_a_passage_says_it():
    evidence = EvidenceSet(PASSAGES)
    assert evidence.row_of("A nodule.") == evidence.rows[1]
    assert evidence.row_of("A mass.") is None


def test_a_study_that_is_farther_by_the_temperature_weighs_less_by_e():
    weights = study_weights(PASSAGES)
    assert weights["near"] / weights["far"] == pytest.approx(np.e)
    assert sum(weights.values()) == pytest.approx(1)


def test_a_study_weighs_once_however_many_of_its_passages_are_counted():
    evidence, weights = EvidenceSet(PASSAGES), study_weights(PASSAGES)
    assert evidence.weight([1, 2]) == evidence.weight([1]) == weights["near"]
    assert evidence.weight([2, 3]) == pytest.approx(1)
    assert evidence.weight([]) == 0
