"""Collects what the cells of an experiment measured into one Parquet file, and reads it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from service.files import remove_drafts, write_atomically, written_atomically
from training.experiments.cells import Cell
from training.experiments.differences import BySeed
from training.run.record import git_state

SCHEMA = pa.schema(
    [
        ("part", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("commit", pa.string()),
    ]
)
"""commit: the code that measured. Where a run was trained before, its environment.json has the
commit that trained it."""
Key = tuple[str, str, int]
Row = tuple[str, str, int, str, float, str]


class Results:
    """Every arm, seed and metric that was measured."""

    def __init__(self, path: Path) -> None:
        self._values: dict[tuple[str, str, str], dict[int, float]] = {}
        for row in pq.read_table(path).to_pylist():
            key = row["part"], row["arm"], row["metric"]
            self._values.setdefault(key, {})[row["seed"]] = row["value"]

    def arms(self) -> list[tuple[str, str]]:
        """Returns (part, arm) of all that was measured."""
        return sorted({(part, arm) for part, arm, _ in self._values})

    def of(self, part: str, arm: str, metric: str) -> BySeed:
        """Returns {seed: value}; {} if nothing was measured."""
        return self._values.get((part, arm, metric), {})


def running_commit() -> str:
    """Returns the commit of the running code, with a + if it was changed since."""
    state = git_state()
    return "" if state is None else f"{state['commit']}{'+' * bool(state['changed'])}"


def save_cell(finished: Path, cell: Cell, values: Mapping[str, float], commit: str) -> None:
    """Writes what one cell measured to the folder `finished`, for `collect`."""
    rows = [(*cell.key, metric, value, commit) for metric, value in values.items()]
    path = finished / f"{cell.part}-{cell.arm}-{cell.seed}.json"
    remove_drafts(path)
    write_atomically(path, json.dumps(rows).encode())


def collect(finished: Path, results: Path) -> set[Key]:
    """Joins the finished cells to those in `results`; returns the keys of all of them."""
    rows = _rows(results)
    known = {row[:3] for row in rows}
    for path in sorted(finished.glob("*.json")):
        cell: list[Row] = [tuple(row) for row in json.loads(path.read_text(encoding="utf-8"))]
        rows += [row for row in cell if row[:3] not in known]
    rows.sort()
    if rows:
        columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
        remove_drafts(results)
        with written_atomically(results) as draft:
            pq.write_table(pa.table(columns, schema=SCHEMA), draft)
    return {row[:3] for row in rows}


def measured(results: Path) -> set[Key]:
    """Returns the keys of the cells in `results`; none if there is no such file."""
    return {row[:3] for row in _rows(results)}


def _rows(results: Path) -> list[Row]:
    if not results.exists():
        return []
    return [tuple(row.values()) for row in pq.read_table(results).to_pylist()]
