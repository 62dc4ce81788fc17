"""Shows how far indexing has come, as a bar on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


@contextmanager
def progress_bar(console: Console, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows a bar and gives the function that advances it by a number of studies."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _StudiesPerSecond(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Indexing", total=total)
        yield lambda done: progress.advance(task, done)


class _StudiesPerSecond(ProgressColumn):
    """A column with the speed, empty until it is known."""

    def render(self, task: Task) -> Text:
        """Returns the column's text."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
