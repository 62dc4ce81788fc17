"""Measures zero-shot findings: how well prompts rank studies and decide what they have.

Ranking uses the present prompts alone, and the margin (present minus absent). Probabilities come
from the encoder's own score (`service.bundle.scoring.Scorer`) by the label's calibration; a
decision is a probability above 0.5. Two-class numbers take every study with a known label: it is
called positive if its present prompts are nearer than its absent ones. Single-label numbers are
over the studies with exactly one of the labels: each is given the label whose present prompts are
nearest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from torchmetrics.functional.classification import binary_calibration_error

from service.arrays import Bools
from service.bundle.labels import Label, Prompts
from service.bundle.scoring import Scorer
from training.evaluate import PromptMean
from training.evaluate.bootstrap import Counts, aurocs, average_precisions, means
from training.evaluate.calls import Floats, Measured, estimate, f1_of, single_label, two_class
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.prompts import label_scores, margins, present_scores
from training.evaluate.result import Estimate, Measurement, NotMeasured

BINS = 10
FEW = 10
"""Patients with, or without, a finding below which a note calls its interval too narrow."""
MACRO = "macro"


@dataclass(frozen=True)
class Scores:
    """Scores of N studies for L labels, with their findings.

    present, margin, score: float32[N,L]. score: what the encoder's probabilities are made of.
    """

    findings: Findings
    present: Floats
    margin: Floats
    score: Floats

    @classmethod
    def of(
        cls, test: EmbeddedPairs, prompts: Mapping[str, Prompts], mean: PromptMean = "unit"
    ) -> "Scores":
        """Scores the images of `test` with the labels' prompts."""
        return cls(
            Findings.of(test.pairs.studies, prompts),
            present_scores(test.encoder, test.images, prompts.values(), mean),
            margins(test.encoder, test.images, prompts.values(), mean),
            label_scores(test.encoder, test.images, prompts.values(), mean),
        )


def zero_shot(
    test: EmbeddedPairs,
    prompts: Mapping[str, Prompts],
    counts: Counts,
    mean: PromptMean = "unit",
) -> Measurement:
    """Returns the numbers of each label, their macro means, and those of single labels.

    counts: float64[B,N], the patient bootstrap of the studies. mean: how a label's prompts are
    combined; calibrations are for `unit` and are left out with `plain`. Raises NotMeasured if no
    label can be measured.
    """
    if not prompts:
        raise NotMeasured("there are no labels")
    if mean == "plain":
        prompts = {name: _without_calibration(label) for name, label in prompts.items()}
    scores = Scores.of(test, prompts, mean)
    findings = scores.findings
    rows = {
        label: _of_label(scores, at, prompts[label], test.encoder.scorer, counts)
        for at, label in enumerate(findings.labels)
        if findings.answered(at)
    }
    if not findings.labelled.any():
        raise NotMeasured("nobody labelled these studies")
    if not rows:
        raise NotMeasured("every label is in all or in none of the studies")
    single, why_not = single_label(scores.present, findings, counts)
    return Measurement(
        values=_macro(rows, findings.counted) | single,
        by_label={
            label: {
                name: estimate(value, int(findings.known[:, findings.labels.index(label)].sum()))
                for name, value in row.items()
            }
            for label, row in rows.items()
        },
        notes=(
            *findings.left_out(),
            *findings.unanswered(),
            *_rare(findings, test.patients),
            *_uncalibrated(rows, prompts, test.encoder.scorer),
            *why_not,
        ),
        points=_reliability(scores, prompts, test.encoder.scorer),
    )


def raw_probability(score: Floats, label: Prompts, scorer: Scorer) -> Floats | None:
    """Returns the probability as served without a calibration; None if it is served none."""
    return scorer.probability(score) if label.absent or not scorer.needs_absent else None


def calibrated_probability(score: Floats, label: Prompts) -> Floats | None:
    """Returns the probability by the label's calibration; None if it has none."""
    calibration = label.calibration if isinstance(label, Label) else None
    return None if calibration is None else calibration.probability(score)


def expected_calibration_error(probability: Floats, truth: Bools) -> float:
    """Returns the mean gap of probability and frequency in `BINS` bins (Naeini et al. 2015)."""
    predicted, there = torch.from_numpy(np.asarray(probability)), torch.from_numpy(truth).int()
    return float(binary_calibration_error(predicted, there, n_bins=BINS))


def _of_label(
    scores: Scores, at: int, label: Prompts, scorer: Scorer, counts: Counts
) -> dict[str, Measured]:
    known = scores.findings.known[:, at]
    truth, counts = scores.findings.there[known, at], counts[:, known]
    score = scores.score[known, at]
    row = {}
    for name, ranks in (("present", scores.present), ("margin", scores.margin)):
        rank = ranks[known, at]
        row[f"auroc_{name}"] = Measured(
            float(roc_auc_score(truth, rank)), aurocs(counts, truth, rank), 0.5
        )
        row[f"average_precision_{name}"] = Measured(
            float(average_precision_score(truth, rank)),
            average_precisions(counts, truth, rank),
            float(truth.mean()),
        )
    if (probability := calibrated_probability(score, label)) is not None:
        row["f1"] = f1_of(probability > 0.5, truth, counts)
        row |= _honesty(probability, truth, counts, "")
    if label.absent:
        row |= two_class(scores.margin[known, at] > 0, truth, counts)
    if (raw := raw_probability(score, label, scorer)) is not None:
        row |= _honesty(raw, truth, counts, "_uncalibrated")
    return row


def _without_calibration(label: Prompts) -> Prompts:
    return label.model_copy(update={"calibration": None}) if isinstance(label, Label) else label


def _honesty(probability: Floats, truth: Bools, counts: Counts, suffix: str) -> dict[str, Measured]:
    """Returns Brier score and calibration error. Chance: every study gets the prevalence."""
    prevalence = float(truth.mean())
    squares = means(counts, (probability - truth) ** 2)
    brier = Measured(
        float(brier_score_loss(truth, probability)), squares, prevalence * (1 - prevalence)
    )
    ece = Measured(expected_calibration_error(probability, truth), None, None)
    return {f"brier{suffix}": brier, f"ece{suffix}": ece}


def _macro(rows: Mapping[str, dict[str, Measured]], studies: int) -> dict[str, Estimate]:
    """Returns means over the labels with a measure. Resamples that lack one of them are NaN."""
    names = dict.fromkeys(name for row in rows.values() for name in row)
    return {
        f"{name}/{MACRO}": estimate(_mean([r[name] for r in rows.values() if name in r]), studies)
        for name in names
    }


def _mean(measured: list[Measured]) -> Measured:
    values, resampled, chances = zip(*measured, strict=True)
    drawn = None if resampled[0] is None else np.mean(resampled, axis=0)
    chance = None if chances[0] is None else float(np.mean(chances))
    return Measured(float(np.mean(values)), drawn, chance)


def _rare(findings: Findings, patients: Sequence[str]) -> Iterator[str]:
    """Yields a note for each label with few patients: the bootstrap has seen too little of them."""
    patient = np.array(patients)
    for at, label in enumerate(findings.labels):
        known, there = findings.known[:, at], findings.there[:, at]
        fewest = min(len(np.unique(patient[known & kind])) for kind in (there, ~there))
        if 0 < fewest < FEW:
            yield f"interval too narrow, as only {fewest} patients have or lack it: {label}"


def _uncalibrated(
    rows: Mapping[str, dict[str, Measured]], prompts: Mapping[str, Prompts], scorer: Scorer
) -> Iterator[str]:
    without = [label for label, row in rows.items() if "f1" not in row]
    if without:
        yield f"no decision and no probability without calibration: {', '.join(without)}"
    one_sided = [label for label in rows if scorer.needs_absent and not prompts[label].absent]
    if one_sided:
        yield f"no uncalibrated probability without absent prompts: {', '.join(one_sided)}"


def _reliability(
    scores: Scores, prompts: Mapping[str, Prompts], scorer: Scorer
) -> dict[str, list[list[float]]]:
    """Returns (mean probability, fraction with the finding) of each bin, all labels together."""
    pooled: dict[str, list[tuple[Floats, Bools]]] = {"calibrated": [], "uncalibrated": []}
    for at, label in enumerate(prompts.values()):
        known = scores.findings.known[:, at]
        truth, score = scores.findings.there[known, at], scores.score[known, at]
        if (probability := calibrated_probability(score, label)) is not None:
            pooled["calibrated"].append((probability, truth))
        if (raw := raw_probability(score, label, scorer)) is not None:
            pooled["uncalibrated"].append((raw, truth))
    return {
        f"reliability/{name}": _curve(*map(np.concatenate, zip(*parts, strict=True)))
        for name, parts in pooled.items()
        if parts
    }


def _curve(probability: Floats, truth: Bools) -> list[list[float]]:
    share, predicted = calibration_curve(truth, probability, n_bins=BINS)
    return [list(point) for point in zip(predicted.tolist(), share.tolist(), strict=True)]
