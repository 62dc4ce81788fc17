"""Shows results on a terminal: a table of hits, a table of a bundle, a progress bar."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from service.bundle.manifest import Bundle
from service.cases.ingest import Rejected
from service.cases.schema import Hit


def hits_table(hits: Sequence[Hit]) -> Table:
    """Returns a table with one row per hit."""
    table = Table("score", "study", "findings", "text")
    for hit in hits:
        text = hit.text or f"image ({hit.view or 'view unknown'})"
        cells = (f"{hit.score:.3f}", hit.study_id[:12], ", ".join(hit.findings), text)
        table.add_row(*map(escape, cells))
    return table


def bundle_table(bundle: Bundle) -> Table:
    """Returns a table of what a verified bundle holds."""
    manifest = bundle.manifest
    table = Table(title=f"{manifest.name} {manifest.version}", show_header=False)
    table.add_row("id", manifest.id)
    table.add_row("embedding", f"{manifest.dimension} dimensions")
    table.add_row("image", f"{manifest.image.height}×{manifest.image.width}")
    table.add_row("text", f"{manifest.context_length} tokens")
    for name, labels in bundle.label_sets.root.items():
        table.add_row(f"labels: {name}", ", ".join(labels))
    for name, value in manifest.metrics.items():
        table.add_row(name, f"{value:.3f}")
    for name, entry in manifest.files.items():
        table.add_row(name, f"{entry.bytes:,} bytes, verified")
    return table


def shown_place(rejected: Rejected) -> str:
    """Returns where the source has the study, without a file's name, which may name a patient."""
    numbered = re.fullmatch(r"(line|row) \d+", rejected.place)
    return rejected.place if numbered else f"study {rejected.number}"


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a bar on a terminal, and gives the function that advances it by a number of studies."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _StudiesPerSecond(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Indexing", total=total)
        yield lambda done: progress.advance(task, done)


class _StudiesPerSecond(ProgressColumn):
    """A column with the speed, empty until it is known."""

    def render(self, task: Task) -> Text:
        """Returns the column's text."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
