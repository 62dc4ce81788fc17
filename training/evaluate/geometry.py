"""How pairs and points lie on the sphere: alignment, uniformity, modality gap.

Wang & Isola 2020 (arXiv 2005.10242), section 4; Liang et al. 2022 (arXiv 2203.02053), section 4.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def alignment(images: FloatArray, texts: FloatArray) -> float:
    """Mean squared distance of matching pairs, unit float32[N,D] each; 0 when they coincide."""
    return float(np.mean(np.sum((images - texts) ** 2, axis=1)))


def uniformity(vectors: FloatArray) -> float:
    """Log of the mean of exp(−2·distance²) over different points of unit float32[N,D]; ≤ 0."""
    squared = np.clip(2 - 2 * vectors @ vectors.T, 0, 4)
    kernel = np.exp(-2 * squared)[~np.eye(len(vectors), dtype=bool)]
    return float(np.log(kernel.mean()))


def modality_gap(images: FloatArray, texts: FloatArray) -> float:
    """Distance between the two modalities' mean vectors."""
    return float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)))
