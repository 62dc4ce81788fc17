"""What a terminal shows while studies are indexed."""

import io

from rich.console import Console

from service.cases.ingest import Outcome
from service.console import looking, progress_bar


def terminal(*, is_one: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_one, width=120)


def test_the_bar_says_which_stage_the_studies_wait_for():
    console = terminal()
    with progress_bar(console, 40) as bar:
        bar.advance(Outcome(16, seconds={"reading": 1.0, "decoding": 5.0}))
        bar.advance(Outcome(4, seconds={"reading": 2.0, "writing": 4.0}))
    assert "20/40" in console.file.getvalue()
    assert "waits for decoding" in console.file.getvalue()


def test_the_bar_says_nothing_of_stages_where_none_is_known():
    console = terminal()
    with progress_bar(console, 40) as bar:
        bar.advance(Outcome(16))
    assert "16/40" in console.file.getvalue()
    assert "None" not in console.file.getvalue()


def test_files_are_counted_while_they_are_looked_at():
    console = terminal()
    with looking(console) as looked:
        for _ in range(1234):
            looked()
    assert "1,234 files" in console.file.getvalue()


def test_a_file_or_a_pipe_gets_no_bars():
    console = terminal(is_one=False)
    with looking(console) as looked, progress_bar(console, 1) as bar:
        looked()
        bar.advance(Outcome(1, seconds={"reading": 1.0}))
    assert console.file.getvalue() == ""
