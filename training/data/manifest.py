"""Reads the studies of every source that `eclip index` takes, and writes Parquet manifests."""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import SourceUnreadable, StudyInvalid
from service.files import remove_drafts, written_atomically
from service.studies.images import read_image
from service.studies.line import StudyLine
from service.studies.sources import open_studies
from training.data.study import DataError, ManifestStudy

_LOG = logging.getLogger(__name__)
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


def read_manifest(path: Path) -> Iterator[ManifestStudy]:
    """Yields the studies of a manifest, a tar or a folder: of all that `eclip index` takes.

    Raises DataError, with the number of the line or row, for what is not a study.
    """
    try:
        studies = open_studies(path, read_image)
        for found in studies.found:
            try:
                yield _study(found.study)
            except DataError as error:
                raise DataError(f"{path.name}, {found.place}: {error}") from None
    except SourceUnreadable as error:
        raise DataError(f"{path.name}: {error.detail}") from None
    for reason, count in sorted((+studies.passed).items()):
        _LOG.warning("%s: %d %s", path.name, count, reason)


def _study(line: StudyLine | StudyInvalid) -> ManifestStudy:
    if isinstance(line, StudyInvalid):
        raise DataError(line.detail)
    if line.patient_id is None:
        raise DataError(
            "patient_id: training needs one, so that no patient is in two splits. Where each study "
            "is of another patient, repeat the study_id"
        )
    fields = {name: getattr(line, name) for name in StudyLine.model_fields}
    return ManifestStudy(**fields | {"report": line.report or ""})


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
