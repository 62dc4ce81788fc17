"""Turns results.parquet into the tables and figures of the experiment.

python -m training.experiments.phantom_localisation.analyse [--out DIR] [--runs DIR]
"""

from pathlib import Path
from typing import Annotated

import typer

from training.experiments.phantom_localisation.examples import draw_maps
from training.experiments.phantom_localisation.figures import draw_arms, draw_doses, draw_shares
from training.experiments.phantom_localisation.protocol import PROTOCOL, RESULTS
from training.experiments.phantom_localisation.tables import tables
from training.experiments.results import Results

TABLES, ARMS, DOSES, SHARES, MAPS = (
    "tables.md", "arms.png", "doses.png", "shares.png", "maps.png",
)  # fmt: skip


def main(
    results: Annotated[Path, typer.Option(exists=True, dir_okay=False)] = RESULTS,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the tables and figures")
    ] = RESULTS.parent,
    runs: Annotated[
        Path | None, typer.Option(help=f"Folder that `run` trained in, to draw {MAPS} too")
    ] = None,
) -> None:
    """Writes tables.md, arms.png, doses.png, shares.png and, from trained runs, maps.png."""
    measured = Results(results)
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLES).write_text("\n".join(tables(measured)) + "\n", encoding="utf-8")
    draw_arms(measured).savefig(out / ARMS, dpi=110)
    draw_doses(measured).savefig(out / DOSES, dpi=110)
    draw_shares(measured).savefig(out / SHARES, dpi=110)
    if runs is not None:
        draw_maps(PROTOCOL, runs).savefig(out / MAPS, dpi=150)


if __name__ == "__main__":
    typer.run(main)
