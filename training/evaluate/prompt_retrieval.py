"""Measures how well single sentences find images: precision@k of prompts, as ConVIRT measures it.

Zhang et al. 2020 (arXiv 2010.00747): each sentence searches the images by itself. An image is right
if it has the sentence's finding.
"""

from collections.abc import Mapping

import numpy as np

from service.arrays import Bools, FloatArray
from service.bundle.labels import Prompts
from training.evaluate.encode import EmbeddedPairs
from training.evaluate.findings import Findings
from training.evaluate.result import Estimate
from training.evaluate.retrieval import precision_at

KS = (5, 10, 50)


def prompt_retrieval(test: EmbeddedPairs, prompts: Mapping[str, Prompts]) -> dict[str, Estimate]:
    """Returns precision@k of the present prompts, for each k that the images suffice for.

    n counts the prompts. Labels that all or none of the images have are left out, and images of
    which a label is unknown are not found by its prompts. There is no interval: the prompts are
    few, and chosen.
    """
    findings = Findings.of(test.pairs.studies, prompts)
    asked = [at for at in range(len(prompts)) if findings.answered(at)]
    texts = [tuple(prompts.values())[at].present for at in asked]
    if not texts:
        return {}
    of_label = np.repeat(asked, [len(present) for present in texts])
    vectors = np.concatenate([test.encoder.texts(present) for present in texts])
    return _precisions(
        vectors @ test.images.T, findings.there[:, of_label].T, findings.known[:, of_label].T
    )


def _precisions(scores: FloatArray, relevant: Bools, eligible: Bools) -> dict[str, Estimate]:
    """Returns the estimates from [Q,G]: similarity, right, and known."""
    chance = (relevant & eligible).sum(axis=1) / eligible.sum(axis=1)
    estimates = {}
    for k in KS:
        if scores.shape[1] < k:
            break
        shares = precision_at(scores, relevant, eligible, k)
        answered = ~np.isnan(shares)
        if answered.any():
            estimates[f"precision@{k}/prompt-to-image"] = Estimate(
                value=float(shares[answered].mean()),
                n=int(answered.sum()),
                chance=float(chance[answered].mean()),
            )
    return estimates
