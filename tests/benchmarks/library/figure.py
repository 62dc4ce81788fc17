"""Draws how building, searching, memory and disk grow with the number of studies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from tests.benchmarks.library.contestants import CONTESTANTS, EXACT

Row = dict[str, Any]
PANELS: dict[str, Callable[[Row], float]] = {
    "built, studies a second": lambda row: row["build"]["studies_per_s"],
    "disk, KB a study": lambda row: row["build"]["disk_bytes_per_study"] / 1000,
    "memory while searching (RSS), MB": lambda row: row["search"]["rss_mb"],
    "p50 of a search, ms": lambda row: row["search"]["all"]["p50_ms"],
    "p99 of a search, ms": lambda row: row["search"]["all"]["p99_ms"],
    "p99 during a load, ms": lambda row: row["load"]["p99_ms"],
}
"""Title → figure of a result. A result without it is left out."""
BUILT = {"built, studies a second", "disk, KB a study"}
"""Panels that mean nothing for a scan."""


def draw(rows: list[Row], path: Path) -> None:
    """Draws each panel with a line for each contestant."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    for axis, (title, value) in zip(axes.flat, PANELS.items(), strict=True):
        for number, name in enumerate(CONTESTANTS):
            points = [
                (row["size"], value(row))
                for row in rows
                if row["contestant"] == name
                and (row["load"] or "load" not in title)
                and not (name == EXACT and title in BUILT)
            ]
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=f"C{number}", label=name)
        axis.set(title=title, xscale="log", yscale="log", xlabel="studies")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    figure.savefig(path, dpi=110)
    plt.close(figure)
