"""Trains the experiment's unfinished cells, one on each core. Stop it at any time and run it again.

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
from training.experiments.phantom_localisation.protocol import PROTOCOL, SMOKE
from training.fit.trainer import fit

WORK = Path("runs/phantom_localisation")
SMOKE_WORK = Path("runs/phantom_localisation_smoke")


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
        run(SMOKE, parts or ("main",), SMOKE_WORK)
    else:
        run(PROTOCOL, parts or tuple(PROTOCOL.parts), WORK)


def run(protocol: Protocol, parts: Sequence[str], work: Path) -> None:
    """Trains the unfinished cells of the parts. Each leaves its run's folder, to be measured."""
    protocol.check_frozen()
    cells = [cell for part in parts for cell in protocol.cells(part)]
    missing = [cell for cell in cells if not trained(work, cell).exists()]
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
