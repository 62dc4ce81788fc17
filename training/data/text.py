"""Fits long reports into the text tower's context by sampling whole sentences."""

from collections.abc import Sequence

import numpy as np

from service.bundle.report_sentences import sentences
from service.bundle.report_text import Section, sections
from service.bundle.tokenizer import Tokenizer


def fitted(
    reports: Sequence[str], tokenizer: Tokenizer, rngs: Sequence[np.random.Generator]
) -> list[str]:
    """Returns each report as it is if it fits, else as many of its sentences as fit.

    The sentences are drawn at random and keep their order, so every sentence is read in some epoch.
    A sentence that is longer than the context is left to the tokenizer, which cuts it.
    """
    truncated = tokenizer(reports).truncated
    return [
        _sample(report, tokenizer, rng) if long else report
        for report, rng, long in zip(reports, rngs, truncated, strict=True)
    ]


def _headed_sentences(section: Section) -> list[str]:
    """The section's sentences; its heading goes with the first."""
    first, *others = sentences(section.body) or [""]
    return [text for text in (f"{section.heading.strip()} {first}".strip(), *others) if text]


def _sample(report: str, tokenizer: Tokenizer, rng: np.random.Generator) -> str:
    whole = [sentence for section in sections(report) for sentence in _headed_sentences(section)]
    fitting: list[int] = []
    for candidate in rng.permutation(len(whole)).tolist():
        trial = sorted([*fitting, candidate])
        if not tokenizer([" ".join(whole[index] for index in trial)]).truncated[0]:
            fitting = trial
    chosen = fitting or [int(rng.integers(len(whole)))]
    return " ".join(whole[index] for index in chosen)
