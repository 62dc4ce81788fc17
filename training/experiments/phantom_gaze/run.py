"""Runs the experiment's unfinished cells, one on each core. Stop it at any time and run it again.

python -m training.experiments.phantom_gaze.run [PART …] [--smoke]
"""

import contextlib
import io
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

from service.bundle.labels import Prompts
from training.data.dataset import open_pairs
from training.data.phantom import PROMPTS
from training.evaluate.encode import TorchEncoder
from training.evaluate.suite import run_suite
from training.experiments.cells import Cell, Protocol, run_cells
from training.experiments.phantom_gaze.protocol import HERE, PROTOCOL, SMOKE
from training.experiments.results import collect, running_commit, save_cell
from training.fit.trainer import fit
from training.model.clip import Clip
from training.recipe import Recipe
from training.run.record import METRICS

RESULTS = HERE / "results.parquet"
WORK = Path("runs/phantom_gaze")
SMOKE_WORK = Path("runs/phantom_gaze_smoke")
SMOKE_PARTS = ("main", "guidance", "doses")
MEASURES = ("zero_shot", "linear_probe", "retrieval", "geometry")
LABELS = {label: Prompts.model_validate(prompts) for label, prompts in PROMPTS.items()}


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help="Parts of the protocol; else all")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help=f"Two seeds and small data, all in {SMOKE_WORK}")
    ] = False,
) -> None:
    """Runs what is missing of the protocol."""
    if smoke:
        run(SMOKE, parts or SMOKE_PARTS, SMOKE_WORK, SMOKE_WORK / RESULTS.name)
    else:
        run(PROTOCOL, parts or tuple(PROTOCOL.parts), WORK, RESULTS)


def run(protocol: Protocol, parts: Sequence[str], work: Path, results: Path) -> None:
    """Runs the unfinished cells of the parts; `results` grows with every finished seed."""
    protocol.check_frozen()
    finished = _finished(work)
    finished.mkdir(parents=True, exist_ok=True)
    done = collect(finished, results)
    cells = [cell for part in parts for cell in protocol.cells(part) if cell.key not in done]
    run_cells(
        cells,
        partial(run_seed, protocol, work=work),
        partial(collect, finished, results),
    )


def run_seed(protocol: Protocol, cells: Sequence[Cell], work: Path) -> None:
    """Trains and measures the cells of one seed in this process; writes each when finished."""
    commit = running_commit()
    for cell in cells:
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
            recipe = protocol.recipe_of(cell, work / "phantoms")
            clip = fit(recipe, Path(scratch))
            values = measure(recipe, clip) | _priming(Path(scratch))
        save_cell(_finished(work), cell, values, commit)


def measure(recipe: Recipe, clip: Clip) -> dict[str, float]:
    """Returns the suite's numbers on the seed's own test phantoms."""
    read = open_pairs(recipe.data, clip.image, Path(), recipe.expert.sigma)
    test, train = read("test"), read("train")
    suite = run_suite(TorchEncoder(clip), test, train, LABELS, measures=MEASURES)
    return {name: estimate.value for name, estimate in suite.numbers().items()}


def _priming(run: Path) -> dict[str, float]:
    """Returns how well the processor was primed at last: MSE(I, P(I, 1)) over the variance of I."""
    logged = [r for r in pq.read_table(run / METRICS).to_pylist() if r["metric"] == "priming"]
    return {"priming": max(logged, key=lambda row: row["step"])["value"]} if logged else {}


def _finished(work: Path) -> Path:
    return work / "cells"


if __name__ == "__main__":
    typer.run(main)
