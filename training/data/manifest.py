"""The manifest of a folder of studies: `studies.parquet`, gaze included, or `studies.jsonl`."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.data.study import DataError, Gaze, Study, read_studies

ROWS = 4096
"""Studies a row group: what a reader or a writer holds at once."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(_required("item", kind))


_GAZE = pa.struct(
    [
        _required("x", _list_of(pa.float64())),
        _required("y", _list_of(pa.float64())),
        _required("duration", _list_of(pa.float64())),
        _required("degree", _list_of(_list_of(pa.float64()))),
        _required("shown", _list_of(_list_of(pa.float64()))),
    ]
)
SCHEMA = pa.schema(
    [
        _required("study_id", pa.string()),
        _required("patient_id", pa.string()),
        _required("source", pa.string()),
        _required("images", _list_of(pa.string())),
        _required("report", pa.string()),
        pa.field("view", pa.string()),
        _required("findings", _list_of(pa.string())),
        _required("gaze", _list_of(_GAZE)),
        pa.field("split", pa.string()),
        _required("metadata", pa.string()),
    ]
)
"""One row a study; `metadata` is a JSON object, because Parquet has no column of mixed scalars."""


def write_manifest(path: Path, studies: Iterable[Study]) -> None:
    """Write a Parquet manifest; it appears whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    remaining = iter(studies)
    try:
        with pq.ParquetWriter(draft, SCHEMA, compression="zstd") as writer:
            while rows := [_row(study) for study in islice(remaining, ROWS)]:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_manifest(path: Path) -> Iterator[Study]:
    """Yield the studies of a `.parquet` or `.jsonl` manifest; raises DataError or ValueError."""
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix == ".jsonl":
        return read_studies(path)
    raise DataError(f"{path.name} is no manifest; name a .parquet or a .jsonl file")


def _read_parquet(path: Path) -> Iterator[Study]:
    with path.open("rb") as source:
        try:
            file = pq.ParquetFile(source)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path.name} is no Parquet file: {error}") from error
        if not file.schema_arrow.equals(SCHEMA):
            raise DataError(f"{path.name} has other columns than a manifest; write it again")
        rows = (row for batch in file.iter_batches(ROWS) for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            try:
                yield _study(row)
            except ValueError as error:
                raise DataError(f"{path.name}, row {number}: {error}") from error


def _row(study: Study) -> dict[str, Any]:
    return asdict(study) | {"metadata": json.dumps(study.metadata, ensure_ascii=False)}


def _study(row: dict[str, Any]) -> Study:
    return Study(
        **row
        | {
            "images": tuple(row["images"]),
            "findings": tuple(row["findings"]),
            "gaze": tuple(_gaze(reader) for reader in row["gaze"]),
            "metadata": json.loads(row["metadata"]),
        }
    )


def _gaze(reader: dict[str, Any]) -> Gaze:
    return Gaze(
        tuple(reader["x"]),
        tuple(reader["y"]),
        tuple(reader["duration"]),
        tuple((width, height) for width, height in reader["degree"]),
        tuple((left, top, right, bottom) for left, top, right, bottom in reader["shown"]),
    )
