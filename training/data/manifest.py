"""Reads and writes manifests: the studies of a folder, as `studies.parquet` or `studies.jsonl`.

The Parquet form holds gaze. Both are what `eclip index` also reads.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.files import remove_drafts, written_atomically
from training.data.study import ManifestStudy, read_studies

read_manifest = read_studies
"""Reads either form back, and every other source of studies."""
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


def _row(study: ManifestStudy) -> dict[str, Any]:
    return asdict(study) | {"metadata": json.dumps(study.metadata, ensure_ascii=False)}
