"""Reports that are longer than the tower's context: whole sentences are sampled, none is cut."""

import re
from collections.abc import Sequence

import numpy as np

from service.bundle.tokenizer import Tokenizer

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def fitted(
    reports: Sequence[str], tokenizer: Tokenizer, rngs: Sequence[np.random.Generator]
) -> list[str]:
    """Each report as it is where it fits, else as many of its sentences as fit.

    The sentences are drawn at random and kept in the report's order, so that over the epochs each
    is read. A sentence that is longer than the context is left to the tokenizer, which cuts it.
    """
    truncated = tokenizer(reports).truncated
    return [
        _sample(report, tokenizer, rng) if long else report
        for report, rng, long in zip(reports, rngs, truncated, strict=True)
    ]


def _sample(report: str, tokenizer: Tokenizer, rng: np.random.Generator) -> str:
    sentences = _SENTENCE_END.split(report.strip())
    kept: list[int] = []
    for candidate in rng.permutation(len(sentences)).tolist():
        trial = sorted([*kept, candidate])
        fits = not tokenizer([" ".join(sentences[i] for i in trial)]).truncated[0]
        if fits:
            kept = trial
    chosen = kept or [int(rng.integers(len(sentences)))]
    return " ".join(sentences[index] for index in chosen)
