"""Writes the tables of the experiment as Markdown."""

from collections.abc import Iterator, Sequence

import numpy as np

from training.experiments.phantom_gaze.differences import (
    PRIMARY,
    QUESTIONS,
    SECONDARY,
    BySeed,
    Difference,
    Results,
    compared,
    holm,
)
from training.experiments.phantom_gaze.protocol import PROTOCOL

COLUMNS = (
    "n", "difference", "95 % t interval", "95 % bootstrap", "p (t)", "p (Holm)", "p (flips)",
)  # fmt: skip
"""Headings of `_cells`."""


def tables(results: Results) -> Iterator[str]:
    """Yields Markdown: the pre-registered contrasts, every arm against duplicate, every measure."""
    yield "An n of fewer seeds than planned is an interim result.\n"
    yield "## Pre-registered contrasts\n"
    yield from _questions(results)
    yield "\n## Every arm against `duplicate`, zero-shot macro AUROC (present-only)\n"
    yield "Holm's correction is over this table.\n"
    yield from _against_duplicate(results)
    yield "\n## Every measure, mean over seeds\n"
    yield from _measures(results)
    yield "\n## Every measure, difference from `duplicate` on the seeds that both have\n"
    yield "`*`: corrected p < .05, over the arms of a measure.\n"
    yield from _measures_against_duplicate(results)
    yield "\n## Priming: MSE(I, P(I, 1)) over the variance of I, last priming step\n"
    yield from _priming(results)


def _questions(results: Results) -> Iterator[str]:
    yield from _header("part", "measure", "contrast", *COLUMNS)
    for part, metric, pairs in QUESTIONS:
        contrasts = [
            Difference.of(results.of(part, a, metric), results.of(part, b, metric))
            for a, b in pairs
        ]
        known = [difference for difference in contrasts if difference is not None]
        corrected = iter(holm([difference.t for difference in known]))
        for (arm, control), difference in zip(pairs, contrasts, strict=True):
            if difference is not None:
                yield _row(
                    part,
                    SECONDARY[metric],
                    f"{arm} − {control}",
                    *_cells(part, difference, next(corrected)),
                )


def _against_duplicate(results: Results) -> Iterator[str]:
    yield from _header("part", "arm", *COLUMNS)
    rows = list(compared(results))
    for (part, arm, difference), p in zip(
        rows, holm([difference.t for *_, difference in rows]), strict=True
    ):
        yield _row(part, arm, *_cells(part, difference, p))


def _measures(results: Results) -> Iterator[str]:
    """Yields means over seeds."""
    yield from _header("part", "arm", "n", *SECONDARY.values())
    for part, arm in results.arms():
        means = (_mean(results.of(part, arm, metric)) for metric in SECONDARY)
        yield _row(part, arm, len(results.of(part, arm)), *means)


def _measures_against_duplicate(results: Results) -> Iterator[str]:
    """Yields paired differences, with `*` if p, corrected over the arms of a measure, is < .05."""
    columns = {metric: list(compared(results, metric)) for metric in SECONDARY}
    marked = {
        metric: dict(
            zip(((part, arm) for part, arm, _ in rows), _marked([d for *_, d in rows]), strict=True)
        )
        for metric, rows in columns.items()
    }
    yield from _header("part", "arm", "n", *SECONDARY.values())
    for part, arm, difference in columns[PRIMARY]:
        yield _row(
            part, arm, difference.n, *(marked[metric].get((part, arm), "") for metric in SECONDARY)
        )


def _marked(differences: Sequence[Difference]) -> list[str]:
    corrected = holm([difference.t for difference in differences])
    return [
        f"{difference.mean:+.3f}{'*' * (p < 0.05)}"
        for difference, p in zip(differences, corrected, strict=True)
    ]


def _mean(values: BySeed) -> str:
    return f"{np.mean(list(values.values())):.3f}" if values else ""


def _priming(results: Results) -> Iterator[str]:
    yield from _header("part", "arm", "n", "mean", "highest")
    for part, arm in results.arms():
        values = list(results.of(part, arm, "priming").values())
        if values:
            yield _row(part, arm, len(values), f"{np.mean(values):.3f}", f"{max(values):.3f}")


def _cells(part: str, difference: Difference, corrected: float) -> tuple[str, ...]:
    planned = len(PROTOCOL.parts[part].seeds)
    return (
        str(difference.n) if difference.n == planned else f"{difference.n} of {planned}",
        f"{difference.mean:+.4f}",
        f"{difference.low:+.4f} to {difference.high:+.4f}",
        "{:+.4f} to {:+.4f}".format(*difference.bootstrap),
        f"{difference.t:.2g}",
        f"{corrected:.2g}",
        f"{difference.flips:.2g}",
    )


def _header(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield _row(*("---" for _ in names))


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
