"""Scores reports clinically through RadEval (Xu et al. 2025, EMNLP demos), if it is installed.

Its metrics are language models. Nothing is downloaded: a metric runs if `radeval` is installed and
its weights lie in the local Hugging Face cache. Otherwise a note says why it did not run.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from huggingface_hub import constants

from training.evaluate.radgraph import radgraph_scores
from training.evaluate.result import Estimate

log = logging.getLogger(__name__)

METRICS = ("bertscore", "f1chexbert")
"""Metrics that RadEval gives as one number for all reports."""
RADGRAPH = "radgraph"
PACKAGE = "radeval"
Scores = tuple[dict[str, Estimate], tuple[str, ...]]
"""Numbers by name, and notes on gaps."""


def clinical_scores(retrieved: Sequence[str], blind: Sequence[str], true: Sequence[str]) -> Scores:
    """Returns the scores, with those of the blind reports as chance, and notes on gaps."""
    metrics = (*METRICS, RADGRAPH)
    if find_spec(PACKAGE) is None:
        return {}, (f"not measured: {', '.join(metrics)} ({PACKAGE} is not installed)",)
    values: dict[str, Estimate] = {}
    notes: list[str] = []
    for metric in metrics:
        try:
            with _offline():
                numbers, gaps = _scores(metric, list(retrieved), list(blind), list(true))
        except Exception as error:  # its downloader of weights raises nothing more precise
            log.warning("%s was not measured: %s", metric, error)  # names folders: not for a page
            notes.append(f"not measured: {metric} ({type(error).__name__})")
            continue
        values |= numbers
        notes += gaps
    return values, tuple(notes)


def _scores(metric: str, retrieved: list[str], blind: list[str], true: list[str]) -> Scores:
    options = {"metrics": [metric], "show_progress": False}
    if metric == RADGRAPH:
        by_study = import_module(PACKAGE).RadEval(**options, per_sample=True)
        return radgraph_scores(by_study, retrieved, blind, true)
    score = import_module(PACKAGE).RadEval(**options)
    chances = _floats(score(refs=true, hyps=blind))
    numbers = _floats(score(refs=true, hyps=retrieved))
    return {
        name: Estimate(value=value, n=len(true), chance=chances[name])
        for name, value in numbers.items()
    }, ()


def _floats(scores: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


@contextmanager
def _offline() -> Iterator[None]:
    """Makes weights that are not in the cache an OSError instead of a download."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
