"""Measures the trained runs that are not in results.parquet yet, one on each core.

python -m training.experiments.phantom_localisation.measure [--runs DIR] [--smoke]
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from training.experiments.cells import Cell, Protocol, run_cells
from training.experiments.phantom_localisation.protocol import PROTOCOL, RESULTS, SMOKE
from training.experiments.phantom_localisation.run import (
    SMOKE_RESULTS,
    SMOKE_WORK,
    WORK,
    trained,
)
from training.experiments.phantom_localisation.scores import measure
from training.experiments.phantom_localisation.truth import Truth
from training.experiments.results import collect, running_commit, save_cell
from training.recipe import RecipeError
from training.run.folder import load_run


def main(
    runs: Annotated[Path, typer.Option(help="Folder that `run` trained in")] = WORK,
    smoke: Annotated[
        bool, typer.Option("--smoke", help=f"What `run --smoke` trained, all in {SMOKE_WORK}")
    ] = False,
) -> None:
    """Measures every trained run that is not measured yet."""
    if smoke:
        measure_runs(SMOKE, SMOKE_WORK, SMOKE_WORK / "cells", SMOKE_RESULTS)
    else:
        measure_runs(PROTOCOL, runs, WORK / "cells", RESULTS)


def measure_runs(protocol: Protocol, runs: Path, finished: Path, results: Path) -> None:
    """Measures the protocol's cells that were trained in `runs`.

    Each leaves a file in `finished`; `results` grows with every seed. Runs are only read, whichever
    commit trained them; phantoms that their cache lacks are rendered into it.
    """
    protocol.check_frozen()
    finished.mkdir(parents=True, exist_ok=True)
    done = collect(finished, results)
    asked = (cell for part in protocol.parts for cell in protocol.cells(part))
    cells = [cell for cell in asked if cell.key not in done and trained(runs, cell).exists()]
    run_cells(
        cells,
        partial(measure_seed, protocol, runs=runs, finished=finished),
        partial(collect, finished, results),
    )


def measure_seed(protocol: Protocol, cells: Sequence[Cell], runs: Path, finished: Path) -> None:
    """Measures the cells of one seed in this process; writes each when finished.

    Raises RecipeError if a folder holds the run of another recipe than the protocol's.
    """
    commit = running_commit()
    truth: Truth | None = None
    for cell in cells:
        recipe = protocol.recipe_of(cell, runs / "phantoms")
        folder = trained(runs, cell)
        was, clip = load_run(folder)
        here = {"data": was.data.model_copy(update={"cache": runs / "phantoms"})}
        if was.model_copy(update=here) != recipe:
            raise RecipeError(f"{folder} was not trained by the protocol's recipe")
        truth = truth or Truth.of(recipe, clip.image)
        save_cell(finished, cell, measure(recipe, clip, truth), commit)


if __name__ == "__main__":
    typer.run(main)
