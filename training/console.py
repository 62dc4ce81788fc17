"""Prints what eclip-train found, and what went wrong."""
# Modules that load torch are imported inside the functions, so that --help answers at once.

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from training.evaluate.result import Result
    from training.survey import Summary

out, err = Console(), Console(stderr=True)
SHOWN_UNREAD = 20
"""Images that cannot be read: so many are named. The NNNNNN.json of the shards name all of them."""


def complain(error: Exception) -> None:
    """Prints an error as one line, a missing file's without its number."""
    what = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        what = f"{error.strerror}: {error.filename}"
    line = Text.assemble((f"{type(error).__name__}:", "red"), f" {what}")
    err.print(line, highlight=False, soft_wrap=True)


def counts(counter: Counter[str]) -> str:
    """Returns `3 PA, 1 AP`, or `none`."""
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none"


def show_unread(unread: Mapping[str, str]) -> None:
    """Prints images that could not be read, {path: why}."""
    out.print(f"images that could not be read: {len(unread)}")
    for image, reason in islice(unread.items(), SHOWN_UNREAD):
        out.print(f"left out: {image} ({reason})", markup=False, highlight=False, soft_wrap=True)
    if (more := len(unread) - SHOWN_UNREAD) > 0:
        out.print(f"and {more} more, which the shards' NNNNNN.json name under `unread`")


def show_summary(summary: "Summary", skipped: Counter[str]) -> None:
    """Prints what a data set holds, and what was left out for which reason."""
    from training.survey import MODEL

    out.print(f"{summary.studies} studies of {summary.patients} patients")
    out.print(f"image–report pairs: {summary.pairs}")
    out.print(f"views: {counts(summary.views)}")
    if (reports := summary.reports) is None:
        out.print("reports: none")
    else:
        out.print(
            f"reports: {reports.distinct} distinct; median {reports.median_words:.0f} words, "
            f"95th percentile {reports.words_95th:.0f}"
        )
        out.print(f"longer than the {reports.context} tokens of {MODEL}: {reports.truncated:.1%}")
    out.print(f"unlabelled: {summary.unlabelled}; with uncertain labels: {summary.uncertain}")
    out.print(f"skipped: {counts(skipped)}")


def show_result(result: "Result") -> None:
    """Prints the numbers of an evaluation with their notes, and the differences from others."""
    from training.evaluate.compare import largest
    from training.evaluate.result import COLUMNS

    out.print(", ".join(f"{name}: {value}" for name, value in result.about.items()), markup=False)
    for name, section in result.sections.items():
        for note in section.notes:
            out.print(f"{name}: {note}", markup=False)
        if section.values:
            table = Table()
            table.add_column(name, no_wrap=True)
            for column in COLUMNS:
                table.add_column(column)
            for key, estimate in section.values.items():
                table.add_row(key, *estimate.cells())
            out.print(table)
    for other, differences in result.differences.items():
        worst, gap = largest(differences)
        out.print(f"against {other}: the largest difference is {gap:.1e}, of {worst}")
