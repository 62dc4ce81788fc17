"""How pairs and points lie on the sphere: alignment, uniformity, modality gap.

Wang & Isola 2020 (arXiv 2005.10242), section 4; Liang et al. 2022 (arXiv 2203.02053), section 4.
"""

import numpy as np
import numpy.typing as npt

_ROWS = 1024
FloatArray = npt.NDArray[np.float32]


def alignment(images: FloatArray, texts: FloatArray) -> float:
    """Mean squared distance of matching pairs, unit float32[N,D] each; 0 when they coincide."""
    return float(np.mean(np.sum((images - texts) ** 2, axis=1)))


def uniformity(vectors: FloatArray) -> float:
    """Log of the mean of exp(−2·distance²) over different points of unit float32[N,D]; ≤ 0."""
    total = 0.0
    for start in range(0, len(vectors), _ROWS):
        squared = np.clip(2 - 2 * vectors[start : start + _ROWS] @ vectors.T, 0, 4)
        total += float(np.exp(-2 * squared, dtype=np.float64).sum())
    count = len(vectors)
    own = float(np.exp(-2 * np.clip(2 - 2 * np.sum(vectors**2, axis=1), 0, 4)).sum())
    return float(np.log((total - own) / (count * (count - 1))))


def modality_gap(images: FloatArray, texts: FloatArray) -> float:
    """Distance between the two modalities' mean vectors."""
    return float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)))
