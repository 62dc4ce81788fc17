"""Records a run next to its checkpoint: environment.json, metrics.parquet and curves.png."""

import json
import platform
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from service.files import remove_drafts, write_atomically, written_atomically

METRICS, CURVES, ENVIRONMENT = "metrics.parquet", "curves.png", "environment.json"
VALIDATION = "validation/"
"""Begins the names of metrics that were measured on the validation split."""
_SCHEMA = pa.schema([("step", pa.int64()), ("metric", pa.string()), ("value", pa.float64())])


class RunRecord(Logger):
    """A logger that keeps every value as a row (step, metric, value) of metrics.parquet.

    The file is written with each checkpoint. A resumed run repeats the steps after the last
    checkpoint; their new values replace the old ones.
    """

    def __init__(self, run: Path) -> None:
        super().__init__()
        self._run = run
        self._values: dict[tuple[int, str], float] = {}
        if (run / METRICS).exists():
            for row in pq.read_table(run / METRICS).to_pylist():
                self._values[row["step"], row["metric"]] = row["value"]

    @property
    def name(self) -> str:
        """The name that Lightning requires."""
        return "record"

    @property
    def version(self) -> str:
        """The version that Lightning requires."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keeps the values of one step."""
        for metric, value in metrics.items():
            if metric != "epoch":
                self._values[step or 0, metric] = float(value)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Does nothing: recipe.json holds the recipe."""

    @rank_zero_only
    def after_save_checkpoint(self, _: Any) -> None:
        """Writes the table with each checkpoint."""
        self._write()

    @rank_zero_only
    def finalize(self, _: str) -> None:
        """Writes the table and draws the curves, however the run ended."""
        self._write()
        self._draw()

    def _write(self) -> None:
        steps, metrics = zip(*self._values, strict=True) if self._values else ((), ())
        columns = [steps, metrics, tuple(self._values.values())]
        remove_drafts(self._run / METRICS)
        with written_atomically(self._run / METRICS) as draft:
            pq.write_table(pa.table(columns, schema=_SCHEMA), draft)

    def _draw(self) -> None:
        names = sorted({metric for _, metric in self._values})
        if not names:
            return
        figure = Figure(figsize=(7, 2 * len(names)), layout="tight")
        panels = figure.subplots(len(names), squeeze=False)
        for panel, name in zip(panels[:, 0], names, strict=True):
            curve = sorted((step, v) for (step, key), v in self._values.items() if key == name)
            panel.plot(*zip(*curve, strict=True), marker="." if len(curve) < 30 else "")
            panel.set_title(name, loc="left", fontsize=9)
        panels[-1, 0].set_xlabel("step")
        figure.savefig(self._run / CURVES)


def last_measured(run: Path, steps: int | None = None) -> dict[str, float]:
    """Returns the validation values at the last checkpoint; {} without a validation split.

    steps: at the checkpoint after so many steps, {} if nothing was recorded at it. None: at the
    last.
    """
    if not (run / METRICS).exists():
        return {}
    rows = pq.read_table(run / METRICS).to_pylist()
    rows = rows if steps is None else [row for row in rows if row["step"] == steps - 1]
    measured = [row for row in rows if row["metric"].startswith(VALIDATION)]
    return {row["metric"]: row["value"] for row in sorted(measured, key=lambda row: row["step"])}


@rank_zero_only
def write_environment(run: Path) -> None:
    """Writes what the run ran on: versions, machine and, in a checkout, the commit of the code."""
    facts = {
        "command": ["eclip-train", *sys.argv[1:]],
        "python": platform.python_version(),
        "machine": platform.machine(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git": git_state(),
        "packages": {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name)},
    }
    remove_drafts(run / ENVIRONMENT)
    write_atomically(run / ENVIRONMENT, json.dumps(facts, indent=1).encode())


def git_state() -> dict[str, str | bool] | None:
    """Returns the commit of this code and whether it was changed since; None outside a checkout."""
    folder = Path(__file__).parents[1]
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = bool(_git(folder, "status", "--porcelain", "--", "."))
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": changed}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
