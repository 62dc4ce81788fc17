"""Shows results on a terminal: tables, a progress bar, what was wrong and where.

What is shown may be kept as a container's log, so it names no file: a name may be a patient's.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from service.bundle.manifest import Bundle
from service.cases.ingest import Outcome, Rejected
from service.cases.ingest import total as summed
from service.cases.schema import Hit
from service.errors import EclipError

_NUMBERED = re.compile(r"(?:line|row) \d+")
"""Places of a study that name no file."""
SHOWN_REJECTS = 20
"""Rejected studies that are shown; `--rejects` writes all of them to a file."""


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
    if manifest.has_text:
        table.add_row("text", f"{manifest.context_length} tokens")
        table.add_row("scoring", manifest.scoring)
    for name, labels in bundle.label_sets.root.items():
        table.add_row(f"labels: {name}", ", ".join(labels))
    for name, value in manifest.metrics.items():
        table.add_row(name, f"{value:.3f}")
    for name, entry in manifest.files.items():
        table.add_row(name, f"{entry.bytes:,} bytes, verified")
    return table


def show_outcome(
    out: Console, err: Console, outcome: Outcome, state: str = "of this source in the library"
) -> None:
    """Shows how many studies were stored and passed over, and why some were rejected."""
    out.print(f"{outcome.stored} studies {state}, {len(outcome.rejected)} rejected")
    if outcome.passed:
        passed = ", ".join(f"{count} {reason}" for reason, count in sorted(outcome.passed.items()))
        out.print(f"Passed over: {passed}", soft_wrap=True)
    for rejected in outcome.rejected[:SHOWN_REJECTS]:
        err.print(escape(f"  {place(rejected)}: {rejected.reason}"), highlight=False)


def place(rejected: Rejected) -> str:
    """Returns where a source has a study: its line or row, else its number, never a file's name."""
    known = _NUMBERED.fullmatch(rejected.place)
    return rejected.place if known else f"study {rejected.number}"


def failure(error: EclipError | OSError) -> str:
    """Returns what was wrong, in Rich's markup."""
    if isinstance(error, EclipError):
        return f"[red]{error.title}:[/red] {escape(error.detail)}"
    return (
        f"[red]Cannot read or write:[/red] {escape(error.strerror or type(error).__name__)}. Check "
        "the paths, ECLIP_DATA_DIR, their permissions and the free space of the disk."
    )


def wrong_settings(error: ValidationError | SettingsError) -> str:
    """Returns what is wrong with the settings, a line each, in Rich's markup."""
    if isinstance(error, SettingsError):
        named = re.search(r'field "(\w+)"', str(error))
        problems = [(named.group(1) if named else "", "It is not JSON. Write a list or an object")]
    else:
        errors = error.errors(include_input=False)
        problems = [(str(each["loc"][0]) if each["loc"] else "", each["msg"]) for each in errors]
    return "\n".join(
        f"[red]Setting ECLIP_{name.upper()}:[/red] {escape(what)}." for name, what in problems
    )


@contextmanager
def looking(console: Console, what: str = "files") -> Iterator[Callable[[], None]]:
    """Counts on a terminal the files that are looked at, and gives the function that adds one."""
    columns = (SpinnerColumn(), TextColumn(f"Looking at the source: {{task.completed:,}} {what}"))
    terminal = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda: progress.advance(task)


@contextmanager
def working(console: Console, what: str) -> Iterator[None]:
    """Says on a terminal what is being done, and for how long already."""
    columns = (SpinnerColumn(), TextColumn(what), TimeElapsedColumn())
    terminal = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not terminal) as progress:
        progress.add_task("", total=None)
        yield


class Bar:
    """A bar on a terminal that counts studies."""

    def __init__(self, progress: Progress, total: int, doing: str) -> None:
        self._progress, self._so_far = progress, Outcome()
        self._task = progress.add_task(doing, total=total, limit="")

    def advance(self, done: Outcome) -> None:
        """Advances by a batch's studies, and says what was waited for."""
        self._so_far = summed([self._so_far, done])
        limit = f"waits for {self._so_far.limit}" if self._so_far.limit else ""
        self._progress.update(self._task, advance=done.studies, limit=limit)

    def skip(self, studies: int = 1) -> None:
        """Advances by studies that have no outcome."""
        self._progress.update(self._task, advance=studies)


@contextmanager
def progress_bar(console: Console, total: int, doing: str = "Indexing") -> Iterator[Bar]:
    """Shows a bar with the speed and the time left, on a terminal only."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _StudiesPerSecond(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[limit]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, total, doing)


class _StudiesPerSecond(ProgressColumn):
    """A column with the speed, empty until it is known."""

    def render(self, task: Task) -> Text:
        """Returns the column's text."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
