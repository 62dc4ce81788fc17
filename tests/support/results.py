"""Writes the results of an experiment that nobody ran."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from training.experiments.results import SCHEMA, Row


def write_results(path: Path, rows: Sequence[Row]) -> None:
    """Writes the rows as an experiment's Parquet file."""
    columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns, schema=SCHEMA), path)
