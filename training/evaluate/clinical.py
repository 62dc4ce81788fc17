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

from training.evaluate.result import Estimate

log = logging.getLogger(__name__)

METRICS = ("bertscore", "f1chexbert", "radgraph")
PACKAGE = "radeval"


def clinical_scores(
    retrieved: Sequence[str], blind: Sequence[str], true: Sequence[str]
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    """Returns the scores, with those of the blind reports as chance, and notes on gaps."""
    if find_spec(PACKAGE) is None:
        return {}, (f"not measured: {', '.join(METRICS)} ({PACKAGE} is not installed)",)
    values: dict[str, Estimate] = {}
    notes = []
    for metric in METRICS:
        try:
            with _offline():
                score = import_module(PACKAGE).RadEval(metrics=[metric], show_progress=False)
                chances = _floats(score(refs=list(true), hyps=list(blind)))
                numbers = _floats(score(refs=list(true), hyps=list(retrieved)))
        except (OSError, ImportError) as error:
            log.warning("%s was not measured: %s", metric, error)  # names folders: not for a page
            notes.append(f"not measured: {metric} ({type(error).__name__})")
            continue
        values |= {
            name: Estimate(value=value, n=len(true), chance=chances[name])
            for name, value in numbers.items()
        }
    return values, tuple(notes)


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
