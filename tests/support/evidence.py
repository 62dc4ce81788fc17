"""Builds evidence for tests."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from service.cases.schema import Vector
from service.deadline import Deadline
from service.imaging.deidentify import StudyRef
from service.inference.encoder import Encoder
from service.reporting.evidence import Evidence
from service.reporting.evidence_set import EvidenceSet

NOT_EMBEDDED = np.zeros(1, np.float32)


def passage(
    number: int,
    text: str,
    *,
    passage_id: str | None = None,
    study_id: str | None = None,
    section: str = "findings",
    score: float = 0.5,
    vector: Vector = NOT_EMBEDDED,
) -> Evidence:
    """A passage, of a study of its own unless a study is named."""
    return Evidence(
        number=number,
        passage_id=passage_id or f"p{number}",
        study_id=StudyRef(study_id or f"s{number}"),
        section=section,
        text=text,
        score=score,
        vector=vector,
    )


def embedded(passages: Sequence[Evidence], encoder: Encoder, deadline: Deadline) -> EvidenceSet:
    """The passages with the vectors that a library would have stored."""
    texts = encoder.texts([item.text for item in passages], deadline) if passages else []
    return EvidenceSet(
        [replace(item, vector=text.vector) for item, text in zip(passages, texts, strict=True)]
    )
