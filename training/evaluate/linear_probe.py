"""Measures a linear probe: logistic regression on image embeddings, with few labels and many.

Embeddings are standardised and the regression has scikit-learn's default L2 strength. Nothing is
tuned, so no validation split is needed. For fewer labels, training patients are drawn at random,
others for each seed.
"""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from service.arrays import Bools, FloatArray
from training.evaluate.bootstrap import Counts, Floats, aurocs, interval, patient_counts
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.result import Estimate, Measurement, NotMeasured

SHARES = (0.01, 0.1, 1.0)
SEEDS = 5
LEAST_STUDIES = 2
"""Training studies with a finding, and as many without it, that a fit needs."""


def linear_probe(
    train: EmbeddedPairs, test: EmbeddedPairs, labels: tuple[str, ...], *, seed: int = 0
) -> Measurement:
    """Returns macro AUROC on the test studies for each fraction of the training patients.

    Fractions give mean and sd over several draws. All patients give one value, with its interval
    over resampled test patients. Raises NotMeasured if no label can be fitted and scored.
    """
    learned = Findings.of(train.pairs.studies, labels)
    asked = Findings.of(test.pairs.studies, labels)
    counts = patient_counts(test.patients)
    values: dict[str, Estimate] = {}
    notes = [*asked.left_out(), *asked.unanswered()]
    notes += [f"training studies {note}" for note in learned.left_out()]
    for share in SHARES:
        draws = [
            patients_drawn(train.patients, share, seed + draw)
            for draw in range(1 if share == 1 else SEEDS)
        ]
        scored = [probe(train.images[rows], learned.at(rows), test.images, asked) for rows in draws]
        name = f"linear_probe/{share:.0%}"
        notes += _left_out(name, asked, scored)
        if fitted := [scores for scores in scored if scores]:
            values[name] = _estimate(fitted, asked, counts)
    if not values:
        raise NotMeasured("; ".join(notes))
    return Measurement(values=values, notes=tuple(notes))


def patients_drawn(patients: list[str], share: float, seed: int) -> npt.NDArray[np.intp]:
    """Returns the rows of a fraction of the patients, of at least one."""
    everyone = np.unique(patients)
    number = max(1, round(share * len(everyone)))
    drawn = np.random.default_rng(seed).permutation(everyone)[:number]
    return np.flatnonzero(np.isin(patients, drawn))


def probe(
    train: FloatArray, learned: Findings, test: FloatArray, asked: Findings
) -> dict[str, Floats]:
    """Returns decision values of the test studies, float64[N], for each label both can answer."""
    return {
        label: _fitted(train, learned, at).decision_function(test)
        for at, label in enumerate(learned.labels)
        if asked.answered(at) and _enough(learned, at)
    }


def _fitted(train: FloatArray, learned: Findings, at: int) -> Pipeline:
    known = learned.known[:, at]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(train[known], learned.there[known, at])


def _enough(learned: Findings, at: int) -> bool:
    there = learned.there[learned.known[:, at], at]
    return min(int(there.sum()), int((~there).sum())) >= LEAST_STUDIES


def _left_out(name: str, asked: Findings, scored: list[dict[str, Floats]]) -> tuple[str, ...]:
    """Returns a note on the labels that could be tested but were not fitted in every draw."""
    missing = {
        label: sum(label not in scores for scores in scored)
        for at, label in enumerate(asked.labels)
        if asked.answered(at)
    }
    listed = ", ".join(f"{label} {count}" for label, count in missing.items() if count)
    return (
        f"{name}: of {len(scored)} draws, labels left out for fewer than {LEAST_STUDIES} training "
        f"studies with or without them: {listed}",
    ) * bool(listed)


def _estimate(draws: list[dict[str, Floats]], asked: Findings, counts: Counts) -> Estimate:
    macros = [
        float(np.mean([roc_auc_score(*_answers(asked, label, s)) for label, s in scores.items()]))
        for scores in draws
    ]
    mean, studies = float(np.mean(macros)), asked.counted
    if len(draws) > 1:
        return Estimate(value=mean, n=studies, chance=0.5, sd=float(np.std(macros, ddof=1)))
    resampled = [
        aurocs(counts[:, _known(asked, label)], *_answers(asked, label, scores))
        for label, scores in draws[0].items()
    ]
    low, high = interval(np.mean(resampled, axis=0))
    return Estimate(value=mean, n=studies, low=low, high=high, chance=0.5)


def _answers(asked: Findings, label: str, scores: Floats) -> tuple[Bools, Floats]:
    known = _known(asked, label)
    return asked.there[known, asked.labels.index(label)], scores[known]


def _known(asked: Findings, label: str) -> Bools:
    return asked.known[:, asked.labels.index(label)]
