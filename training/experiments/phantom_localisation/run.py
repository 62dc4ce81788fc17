"""Trains the cells that are neither trained nor measured yet, one seed on each core.

Stop it at any time and run it again.

python -m training.experiments.phantom_localisation.run [PART …] [--smoke]
"""

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from training.experiments.cells import Cell, Protocol, run_cells
from training.experiments.phantom_localisation.protocol import PROTOCOL, RESULTS, SMOKE
from training.experiments.results import measured
from training.fit.trainer import fit

WORK = Path("runs/phantom_localisation")
SMOKE_WORK = Path("runs/phantom_localisation_smoke")
SMOKE_RESULTS = SMOKE_WORK / RESULTS.name


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help="Parts of the protocol; else all")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help=f"Two seeds and small data, all in {SMOKE_WORK}")
    ] = False,
) -> None:
    """Trains what is missing of the protocol."""
    if smoke:
        run(SMOKE, parts or ("main",), SMOKE_WORK, SMOKE_RESULTS)
    else:
        run(PROTOCOL, parts or tuple(PROTOCOL.parts), WORK, RESULTS)


def run(protocol: Protocol, parts: Sequence[str], work: Path, results: Path) -> None:
    """Trains the cells of the parts that `results` lacks. Each leaves a folder, to be measured."""
    protocol.check_frozen()
    done = measured(results)
    cells = [cell for part in parts for cell in protocol.cells(part)]
    missing = [c for c in cells if c.key not in done and not trained(work, c).exists()]
    run_cells(missing, partial(train_seed, protocol, work=work), lambda: None)


def train_seed(protocol: Protocol, cells: Sequence[Cell], work: Path) -> None:
    """Trains the cells of one seed in this process."""
    for cell in cells:
        finished = trained(work, cell)
        begun = finished.with_name(f"{finished.name}.begun")
        with contextlib.redirect_stdout(io.StringIO()):
            fit(protocol.recipe_of(cell, work / "phantoms"), begun)
        begun.rename(finished)


def trained(work: Path, cell: Cell) -> Path:
    """Returns the folder of a cell's finished run."""
    return work / "runs" / f"{cell.part}-{cell.arm}-{cell.seed}"


if __name__ == "__main__":
    typer.run(main)
