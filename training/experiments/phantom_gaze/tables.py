"""Writes the tables of the experiment as Markdown."""

from collections.abc import Iterator

import numpy as np

from training.experiments.phantom_gaze.contrasts import QUESTIONS, SECONDARY, compared
from training.experiments.phantom_gaze.protocol import PROTOCOL
from training.experiments.results import Results
from training.experiments.tables import contrasts, differences, header, matrix, means, row


def tables(results: Results) -> Iterator[str]:
    """Yields Markdown: the pre-registered contrasts, every arm against duplicate, every measure."""
    yield "An n of fewer seeds than planned is an interim result.\n"
    yield "## Pre-registered contrasts\n"
    yield from contrasts(results, PROTOCOL, QUESTIONS, SECONDARY)
    yield "\n## Every arm against `duplicate`, zero-shot macro AUROC (present-only)\n"
    yield "Holm's correction is over this table.\n"
    yield from differences(PROTOCOL, compared(results))
    yield "\n## Every measure, mean over seeds\n"
    yield from means(results, SECONDARY)
    yield "\n## Every measure, difference from `duplicate` on the seeds that both have\n"
    yield "`*`: corrected p < .05, over the arms of a measure.\n"
    columns = {metric: list(compared(results, metric)) for metric in SECONDARY}
    yield from matrix(columns, SECONDARY)
    yield "\n## Priming: MSE(I, P(I, 1)) over the variance of I, last priming step\n"
    yield from _priming(results)


def _priming(results: Results) -> Iterator[str]:
    yield from header("part", "arm", "n", "mean", "highest")
    for part, arm in results.arms():
        values = list(results.of(part, arm, "priming").values())
        if values:
            yield row(part, arm, len(values), f"{np.mean(values):.3f}", f"{max(values):.3f}")
