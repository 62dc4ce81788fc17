"""Finds where maps should point: at the lesion of a single finding, and at what readers looked at.

Lesions are taken of studies with one finding alone, since the masks of several are merged. Where
there are prompts it is a finding that has them, and its text is the present ones. Gaze is taken of
every study that has it; its text is the study's report.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from service.arrays import Bools, FloatArray
from service.bundle.labels import Prompts
from training.data.labels import present
from training.data.pairs import Pairs
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.prompts import ensemble

Against = Literal["lesion", "gaze"]
AGAINST: tuple[Against, ...] = ("lesion", "gaze")
LEVEL = 128
"""Level, 0…255, from which a pixel counts: half covered by a lesion, or half the longest dwell."""


class Region(NamedTuple):
    """What a map of one study should point at.

    row: the study's. inside: bool[H,W], neither empty nor full. finding: the lesion's. text: what a
    map of text is asked for, float32[D]; None if there is no such text.
    """

    row: int
    against: Against
    inside: Bools
    finding: str | None
    text: FloatArray | None


def regions(studies: EmbeddedPairs, prompts: Mapping[str, Prompts]) -> list[Region]:
    """Returns the regions of these studies, of lesions first."""
    found = [*_lesions(studies, prompts), *_gaze(studies)]
    return [region for region in found if region.inside.any() and not region.inside.all()]


def _lesions(studies: EmbeddedPairs, prompts: Mapping[str, Prompts]) -> Iterator[Region]:
    pairs = studies.pairs
    if pairs.lesions is None:
        return
    texts = [ensemble(studies.encoder, prompt.present) for prompt in prompts.values()]
    labels = (*prompts, *_others(pairs, prompts))
    findings = Findings.of(pairs.studies, labels)
    asked = findings.there[:, : len(prompts) or len(labels)].any(axis=1)
    alone = findings.known.all(axis=1) & (findings.there.sum(axis=1) == 1) & asked
    for row in np.flatnonzero(alone).tolist():
        at = int(findings.there[row].argmax())
        inside = pairs.lesions[row] >= LEVEL
        yield Region(row, "lesion", inside, findings.labels[at], texts[at] if texts else None)


def _gaze(studies: EmbeddedPairs) -> Iterator[Region]:
    if (heatmaps := studies.pairs.heatmaps) is None:
        return
    reported = studies.reported.tolist()
    texts = dict(zip(reported, studies.reports, strict=True)) if reported else {}
    for row in range(len(studies.pairs)):
        yield Region(row, "gaze", heatmaps[row] >= LEVEL, None, texts.get(row))


def _others(pairs: Pairs, prompts: Mapping[str, Prompts]) -> list[str]:
    """Returns the findings that the studies name and that have no prompts."""
    named = {name for study in pairs.studies for name in present(study)}
    return sorted(named - {label.lower() for label in prompts})
