"""Turns results.parquet into the tables and figures of the experiment.

python -m training.experiments.phantom_gaze.analyse [--results FILE] [--out DIR]
"""

from pathlib import Path
from typing import Annotated

import typer

from training.experiments.phantom_gaze.figures import draw_arms, draw_doses, draw_shares
from training.experiments.phantom_gaze.run import RESULTS
from training.experiments.phantom_gaze.tables import tables
from training.experiments.results import Results

TABLES, ARMS, DOSES, SHARES = "tables.md", "arms.png", "doses.png", "shares.png"


def main(
    results: Annotated[Path, typer.Option(exists=True, dir_okay=False)] = RESULTS,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the tables and figures")
    ] = RESULTS.parent,
) -> None:
    """Writes tables.md, arms.png, doses.png and shares.png."""
    measured = Results(results)
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLES).write_text("\n".join(tables(measured)) + "\n", encoding="utf-8")
    draw_arms(measured).savefig(out / ARMS, dpi=110)
    draw_doses(measured).savefig(out / DOSES, dpi=110)
    draw_shares(measured).savefig(out / SHARES, dpi=110)


if __name__ == "__main__":
    typer.run(main)
