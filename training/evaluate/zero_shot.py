"""Zero-shot findings: scores from prompts, AUROC, and calibration on a validation split."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from service.bundle.labels import Calibration, Label, Prompts
from service.bundle.manifest import Bundle
from training.data.pairs import Pairs
from training.evaluate.encode import encode_images, encode_texts

FloatArray = npt.NDArray[np.float32]
TOLERATED_ERROR = 0.1


def present_scores(bundle: Bundle, images: FloatArray, prompts: Prompts) -> FloatArray:
    """float32[N]: similarity to the mean of the present prompts."""
    return images @ _ensemble(bundle, prompts.present)


def margins(bundle: Bundle, images: FloatArray, prompts: Prompts) -> FloatArray:
    """float32[N]: present minus absent similarity (present alone where no absent prompts are)."""
    present = present_scores(bundle, images, prompts)
    return present - images @ _ensemble(bundle, prompts.absent) if prompts.absent else present


def zero_shot_metrics(
    bundle: Bundle, pairs: Pairs, prompts: Mapping[str, Prompts]
) -> dict[str, float]:
    """AUROC of each label that occurs, and macro means, by present-only prompts and by margin."""
    images = encode_images(bundle, pairs.images)
    metrics: dict[str, float] = {}
    for kind, score in (("present", present_scores), ("margin", margins)):
        aurocs = {
            label: float(roc_auc_score(pairs.has_finding(label), score(bundle, images, prompt)))
            for label, prompt in prompts.items()
            if 0 < pairs.has_finding(label).sum() < len(pairs)
        }
        metrics |= {f"auroc_{kind}/{label}": value for label, value in aurocs.items()}
        if aurocs:
            metrics[f"auroc_{kind}/macro"] = float(np.mean(list(aurocs.values())))
    return metrics


def calibrate(bundle: Bundle, pairs: Pairs, prompts: Mapping[str, Prompts]) -> dict[str, Label]:
    """Platt scaling and an abstention band for each label, fitted on a validation split.

    A label that all or none of the split's studies have stays uncalibrated.
    """
    images = encode_images(bundle, pairs.images)
    return {
        label: Label(
            present=prompt.present,
            absent=prompt.absent,
            calibration=_fit(margins(bundle, images, prompt), pairs.has_finding(label)),
        )
        for label, prompt in prompts.items()
    }


def _fit(margin: FloatArray, truth: npt.NDArray[np.bool_]) -> Calibration | None:
    if truth.all() or not truth.any():
        return None
    platt = LogisticRegression(C=1e6).fit(margin[:, None], truth)
    probability = platt.predict_proba(margin[:, None])[:, 1]
    return Calibration(
        slope=float(platt.coef_[0, 0]),
        offset=float(platt.intercept_[0]),
        abstain=abstention_band(probability, truth),
    )


def abstention_band(
    probability: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """The narrowest band around 0.5 outside which at most `TOLERATED_ERROR` of calls are wrong."""
    for half_width in np.arange(0, 0.5, 0.05):
        low, high = float(0.5 - half_width), float(0.5 + half_width)
        called = (probability <= low) | (probability >= high)
        if (
            called.any()
            and np.mean((probability > 0.5)[called] != truth[called]) <= TOLERATED_ERROR
        ):
            return low, high
    return 0.0, 1.0


def _ensemble(bundle: Bundle, prompts: tuple[str, ...]) -> FloatArray:
    mean = encode_texts(bundle, prompts).mean(axis=0)
    unit: FloatArray = mean / np.linalg.norm(mean)
    return unit
