"""Measures how vectors lie on the sphere: alignment, uniformity, modality gap.

Wang & Isola 2020 (arXiv 2005.10242), section 4; Liang et al. 2022 (arXiv 2203.02053), section 4.
"""

import numpy as np
from sklearn.decomposition import PCA

from service.arrays import FloatArray
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.result import Estimate, Measurement, NotMeasured

PICTURED = 500
"""Studies in the figure."""
_ROWS = 1024


def geometry(test: EmbeddedPairs) -> Measurement:
    """Returns the numbers of the studies with a report, and a figure of both modalities."""
    rows = test.reported
    if len(rows) < 2:
        raise NotMeasured("fewer than two studies have a report")
    images, reports = test.images[rows], test.reports
    values = {
        "alignment": alignment(images, reports),
        "uniformity/image": uniformity(images),
        "uniformity/report": uniformity(reports),
        "modality_gap": modality_gap(images, reports),
    }
    return Measurement(
        values={name: Estimate(value=value, n=len(rows)) for name, value in values.items()},
        points=plane(images[:PICTURED], reports[:PICTURED]),
    )


def plane(images: FloatArray, reports: FloatArray) -> dict[str, list[list[float]]]:
    """Returns both modalities, float32[N,D] each, on their two common principal components."""
    flat = PCA(2, svd_solver="full").fit_transform(np.concatenate([images, reports]))
    return {
        "plane/image": flat[: len(images)].tolist(),
        "plane/report": flat[len(images) :].tolist(),
    }


def alignment(images: FloatArray, texts: FloatArray) -> float:
    """Returns the mean squared distance of matching pairs, unit float32[N,D] each; 0 at best."""
    return float(np.mean(np.sum((images - texts) ** 2, axis=1)))


def uniformity(vectors: FloatArray) -> float:
    """Returns the log of the mean of exp(−2·distance²) over pairs of unit float32[N,D]; ≤ 0."""
    total = 0.0
    for start in range(0, len(vectors), _ROWS):
        squared = np.clip(2 - 2 * vectors[start : start + _ROWS] @ vectors.T, 0, 4)
        total += float(np.exp(-2 * squared, dtype=np.float64).sum())
    count = len(vectors)
    own = float(np.exp(-2 * np.clip(2 - 2 * np.sum(vectors**2, axis=1), 0, 4)).sum())
    return float(np.log((total - own) / (count * (count - 1))))


def modality_gap(images: FloatArray, texts: FloatArray) -> float:
    """Returns the distance between the two modalities' mean vectors."""
    return float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)))
