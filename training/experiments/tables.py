"""Writes tables of arms, measures and differences as Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from training.experiments.cells import Protocol
from training.experiments.differences import BySeed, Compared, Difference, holm
from training.experiments.results import Results

COLUMNS = (
    "n", "difference", "95 % t interval", "95 % bootstrap", "p (t)", "p (Holm)", "p (flips)",
)  # fmt: skip
"""Headings of a difference."""
Question = tuple[str, str, Sequence[tuple[str, str]]]
"""(part, metric, pairs of arms that are corrected together)."""
Measures = Mapping[str, str]
"""Metric → its heading."""


def contrasts(
    results: Results, protocol: Protocol, questions: Iterable[Question], measures: Measures
) -> Iterator[str]:
    """Yields a row for each pair of arms of the questions that was measured."""
    yield from header("part", "measure", "contrast", *COLUMNS)
    for part, metric, pairs in questions:
        found = [
            Difference.of(results.of(part, a, metric), results.of(part, b, metric))
            for a, b in pairs
        ]
        corrected = iter(holm([difference.t for difference in found if difference is not None]))
        for (arm, control), difference in zip(pairs, found, strict=True):
            if difference is not None:
                planned = len(protocol.parts[part].seeds)
                numbers = cells(difference, next(corrected), planned)
                yield row(part, measures[metric], f"{arm} − {control}", *numbers)


def differences(protocol: Protocol, compared: Iterable[Compared]) -> Iterator[str]:
    """Yields a row for each arm, corrected as one family."""
    yield from header("part", "arm", *COLUMNS)
    rows = list(compared)
    for (part, arm, difference), p in zip(
        rows, holm([difference.t for *_, difference in rows]), strict=True
    ):
        yield row(part, arm, *cells(difference, p, len(protocol.parts[part].seeds)))


def means(results: Results, measures: Measures) -> Iterator[str]:
    """Yields every arm's means over seeds. n is that of the first measure."""
    first = next(iter(measures))
    yield from header("part", "arm", "n", *measures.values())
    for part, arm in results.arms():
        values = (_mean(results.of(part, arm, metric)) for metric in measures)
        yield row(part, arm, len(results.of(part, arm, first)), *values)


def matrix(columns: Mapping[str, Sequence[Compared]], measures: Measures) -> Iterator[str]:
    """Yields every arm's differences, with `*` if p, corrected over the column, is < .05.

    columns: metric → what was compared. n and the arms are those of the first measure.
    """
    marked = {
        metric: dict(
            zip(((part, arm) for part, arm, _ in rows), _marked([d for *_, d in rows]), strict=True)
        )
        for metric, rows in columns.items()
    }
    yield from header("part", "arm", "n", *measures.values())
    for part, arm, difference in columns[next(iter(measures))]:
        values = (marked[metric].get((part, arm), "") for metric in measures)
        yield row(part, arm, difference.n, *values)


def cells(difference: Difference, corrected: float, planned: int) -> tuple[str, ...]:
    """Returns a difference under `COLUMNS`, of as many seeds as were planned or fewer."""
    return (
        str(difference.n) if difference.n == planned else f"{difference.n} of {planned}",
        f"{difference.mean:+.4f}",
        f"{difference.low:+.4f} to {difference.high:+.4f}",
        "{:+.4f} to {:+.4f}".format(*difference.bootstrap),
        f"{difference.t:.2g}",
        f"{corrected:.2g}",
        f"{difference.flips:.2g}",
    )


def header(*names: str) -> Iterator[str]:
    """Yields the two lines above a table's rows."""
    yield row(*names)
    yield row(*("---" for _ in names))


def row(*cells: object) -> str:
    """Returns one line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def _marked(differences: Sequence[Difference]) -> list[str]:
    corrected = holm([difference.t for difference in differences])
    return [
        f"{difference.mean:+.3f}{'*' * (p < 0.05)}"
        for difference, p in zip(differences, corrected, strict=True)
    ]


def _mean(values: BySeed) -> str:
    return f"{np.mean(list(values.values())):.3f}" if values else ""
