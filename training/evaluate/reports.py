"""Compares retrieved reports with the true ones: each image retrieves the nearest training report.

BLEU (Papineni et al. 2002) is of the whole corpus, ROUGE-L (Lin 2004) the mean F of the studies.
Both count words, so a wrongly denied finding costs little. Chance is a random training report.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torchmetrics.functional.text import bleu_score, rouge_score

from training.evaluate.bootstrap import interval, means, patient_counts
from training.evaluate.clinical import clinical_scores
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.result import Estimate, Measurement, NotMeasured
from training.evaluate.retrieval import TIE

ORDERS = (1, 2, 3, 4)
_WORD = re.compile(r"\w+|[^\w\s]")


def reports(train: EmbeddedPairs, test: EmbeddedPairs, *, seed: int = 0) -> Measurement:
    """Returns scores of the reports that the test images retrieve from the training reports."""
    if not len(test.reported) or not len(train.reported):
        raise NotMeasured("test and training studies must have reports")
    true = [test.pairs.reports[row] for row in test.reported]
    library = [train.pairs.reports[row] for row in train.reported]
    patients = np.asarray(test.patients)[test.reported]
    others = np.not_equal.outer(patients, np.asarray(train.patients)[train.reported])
    if not others.any(axis=1).all():
        raise NotMeasured("for one patient, all training reports are the patient's own")
    scores = np.where(others, test.images[test.reported] @ train.reports.T, -np.inf)
    nearest = scores >= scores.max(axis=1, keepdims=True) - TIE
    retrieved = [library[column] for column in nearest.argmax(axis=1)]
    blind = [library[column] for column in _at_random(others, seed)]
    values = {
        f"bleu-{n}": Estimate(
            value=bleu(retrieved, true, n), n=len(true), chance=bleu(blind, true, n)
        )
        for n in ORDERS
    }
    f_scores = rouge_l(retrieved, true)
    low, high = interval(means(patient_counts(patients.tolist()), f_scores))
    values["rouge-l"] = Estimate(
        value=float(f_scores.mean()),
        n=len(true),
        low=low,
        high=high,
        chance=float(rouge_l(blind, true).mean()),
    )
    clinical, notes = clinical_scores(retrieved, blind, true)
    return Measurement(values=values | clinical, notes=notes)


def bleu(texts: Sequence[str], true: Sequence[str], order: int) -> float:
    """Returns corpus BLEU of N texts against one reference each, in lower case."""
    candidates, references = [_spaced(text) for text in texts], [[_spaced(text)] for text in true]
    return float(bleu_score(candidates, references, n_gram=order))


def rouge_l(texts: Sequence[str], true: Sequence[str]) -> npt.NDArray[np.float64]:
    """Returns float64[N]: F of the longest common subsequence of words."""
    return np.array(
        [
            float(rouge_score(text, reference, rouge_keys="rougeL")["rougeL_fmeasure"])
            for text, reference in zip(texts, true, strict=True)
        ]
    )


def _at_random(others: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.intp]:
    """Draws one allowed column for each row of bool[Q,G]."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(np.flatnonzero(allowed)) for allowed in others])


def _spaced(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
