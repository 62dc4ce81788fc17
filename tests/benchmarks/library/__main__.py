"""Measures how a case library grows to a million studies, beside other ways to keep vectors.

`make bench-library` makes the peers' environment and runs `python -m tests.benchmarks.library`. A
study has an image and a report, each with a vector (`data.py`). For each size the same files are
stored by our embedded library, by the build at an earlier commit, by FAISS, hnswlib and LanceDB,
and scanned by numpy, one after the other. Each is built, searched for the ten images nearest to
new vectors, and searched while a thread adds more (`phase.py`). FAISS, hnswlib and LanceDB search
with the least effort whose recall is no less than ours.

Each result goes to library.json as it comes, and is not measured again unless asked for. The
figure is drawn from all of them. The folder must have room for 4 KB a study and the largest index.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.benchmarks.library import truth
from tests.benchmarks.library.contestants import BEFORE, CONTESTANTS, OURS, PEERS
from tests.benchmarks.library.data import Data
from tests.benchmarks.library.figure import draw
from tests.benchmarks.library.processes import Environment, measure
from tests.benchmarks.library.results import Results, table
from tests.support.paths import ROOT

SIZES = (10_000, 100_000, 300_000, 1_000_000)
SLOW = {BEFORE: 300_000}
"""Studies up to which a contestant takes part unless it is named: more would take it hours."""
GOAL = 0.99
"""Recall that the others must reach where ours has not been measured."""


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Instead of the four")] = None,
    contestants: Annotated[
        list[str] | None,
        typer.Option("--contestant", help=f"Instead of all: {'; '.join(CONTESTANTS)}"),
    ] = None,
    again: Annotated[bool, typer.Option(help="Measure what has a result too")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where files are made and removed")] = None,
    peers: Annotated[Path, typer.Option(help="A Python that has the peers")] = ROOT
    / ".venv-library/bin/python",
    out: Annotated[Path, typer.Option(help="Where the results are")] = Path(__file__).parents[1],
) -> None:
    """Measures every contestant at every size, and draws the figure."""
    if not (peers.exists() or {*PEERS}.isdisjoint(contestants or PEERS)):
        raise typer.BadParameter(f"There is no {peers}. `make bench-library` makes it.")
    if unknown := set(contestants or ()) - set(CONTESTANTS):
        raise typer.BadParameter(f"There is no contestant {', '.join(unknown)}.")
    results = Results(out / "library.json")
    for size in sizes or SIZES:
        slow = [name for name, most in SLOW.items() if size > most and not contestants]
        for name in slow:
            typer.echo(f"{size:,} studies: without {name}; `--contestant {name}` measures it.")
        missing = [
            name
            for name in CONTESTANTS
            if name in (contestants or CONTESTANTS) and name not in slow
            if again or results.of(size, name) is None
        ]
        if missing:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                measure_size(Path(scratch), size, missing, peers, results)
    typer.echo(table(results.rows))
    draw(results.rows, out / "library.png")


def measure_size(scratch: Path, size: int, names: list[str], peers: Path, results: Results) -> None:
    """Makes the files of one size, and measures the contestants on them."""
    data = Data(scratch, size)
    typer.echo(f"{size:,} studies: their vectors and the exact answers are made.")
    data.make()
    truth.find(data)
    environment = Environment.of(scratch, peers, with_before=BEFORE in names)
    for name in names:
        typer.echo(f"{size:,} studies: {name}")
        ours = results.of(size, OURS)
        goal = ours["search"]["all"]["recall"] if ours else GOAL
        results.add(size, name, measure(environment, data, name, goal))
        shutil.rmtree(scratch / "index")


if __name__ == "__main__":
    typer.run(main)
