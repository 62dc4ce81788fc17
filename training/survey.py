"""Counts what a data set holds: studies, pairs, views, and how long its reports are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open_clip

from training.data.labels import is_labelled, uncertain
from training.data.study import ManifestStudy
from training.model.tokenizer import from_open_clip

MODEL = "ViT-B-32"
"""Model whose tokenizer measures the reports; it comes with open_clip."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the reports are. truncated: fraction of them with more than `context` tokens."""

    distinct: int
    median_words: float
    words_95th: float
    truncated: float
    context: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The contents of a data set. A pair is a study with an image and a report."""

    studies: int
    pairs: int
    patients: int
    views: Counter[str]
    unlabelled: int
    uncertain: int
    """Labelled studies in which some finding is uncertain."""
    reports: Lengths | None
    """None if there is no report."""


def summarise(studies: Sequence[ManifestStudy]) -> Summary:
    """Counts studies, pairs, patients, views and labels, and measures the reports."""
    labelled = [study for study in studies if is_labelled(study)]
    return Summary(
        studies=len(studies),
        pairs=sum(bool(study.images and study.report) for study in studies),
        patients=len({study.patient_id for study in studies}),
        views=Counter(study.view or "not stated" for study in studies if study.images),
        unlabelled=len(studies) - len(labelled),
        uncertain=sum(bool(uncertain(study)) for study in labelled),
        reports=_lengths([study.report for study in studies if study.report]),
    )


def _lengths(reports: Sequence[str]) -> Lengths | None:
    if not reports:
        return None
    original = open_clip.get_tokenizer(MODEL)
    words = [len(report.split()) for report in reports]
    return Lengths(
        distinct=len(set(reports)),
        median_words=float(np.median(words)),
        words_95th=float(np.percentile(words, 95)),
        truncated=float(from_open_clip(original)(reports).truncated.mean()),
        context=original.context_length,
    )
