"""Reads and writes manifests: the studies of a folder, as `studies.parquet` or `studies.jsonl`.

The Parquet form holds gaze; `studies.jsonl` is what `eclip index` also reads.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.files import remove_drafts, written_atomically
from training.data.study import DataError, Gaze, ManifestStudy, read_studies

ROWS = 4096
"""Studies in a row group: the most that a reader or writer holds in memory."""


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
        pa.field("findings", _list_of(pa.string())),
        _required("gaze", _list_of(_GAZE)),
        pa.field("split", pa.string()),
        _required("metadata", pa.string()),
    ]
)
"""One row a study. `metadata` is a JSON object: Parquet has no column of mixed scalars. `findings`
is null where nobody labelled the study."""


def write_manifest(path: Path, studies: Iterable[ManifestStudy]) -> None:
    """Writes a Parquet manifest, whole or not at all. Nobody else may be writing it."""
    remove_drafts(path)
    remaining = iter(studies)
    with (
        written_atomically(path) as draft,
        pq.ParquetWriter(draft, SCHEMA, compression="zstd") as writer,
    ):
        while rows := [_row(study) for study in islice(remaining, ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


def read_manifest(path: Path) -> Iterator[ManifestStudy]:
    """Yields the studies of a `.parquet` or `.jsonl` manifest.

    Raises DataError, with the number of the row or line, for what is not a study.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix == ".jsonl":
        return read_studies(path)
    raise DataError(f"{path.name} is not a manifest; name a .parquet or a .jsonl file")


def _read_parquet(path: Path) -> Iterator[ManifestStudy]:
    with path.open("rb") as source:
        try:
            file = pq.ParquetFile(source)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(
                f"cannot read {path.name} as Parquet: {error}. Write it again"
            ) from error
        if _columns(file.schema_arrow) != _columns(SCHEMA):
            raise DataError(
                f"{path.name} does not have the columns of a manifest; write it with "
                "`eclip-train data`, or as studies.jsonl"
            )
        rows = (row for batch in file.iter_batches(ROWS) for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            try:
                yield _study(row)
            except ValueError as error:
                raise DataError(f"{path.name}, row {number}: {error}") from error


def _columns(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """Returns names and types: version 0.1 wrote `findings` as a column without nulls."""
    return [(column.name, column.type) for column in schema]


def _row(study: ManifestStudy) -> dict[str, Any]:
    return asdict(study) | {"metadata": json.dumps(study.metadata, ensure_ascii=False)}


def _study(row: dict[str, Any]) -> ManifestStudy:
    return ManifestStudy(
        **row
        | {
            "images": tuple(row["images"]),
            "findings": None if row["findings"] is None else tuple(row["findings"]),
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
