"""Reads the studies of a source: a studies.jsonl, .csv or .parquet, a tar shard, or a folder.

- A manifest has one study per line or row, with the fields of `ManifestRecord`. Images are paths
  relative to it. In a CSV, semicolons separate the values of `images` and `findings`.
- A tar shard (webdataset) has one study per key: `KEY.json` holds the same fields, `KEY.txt` the
  report, and images are known by their suffix. A study without `study_id` is named after its key:
  `ward/1` becomes `ward:1`.
- In a folder, the DICOM files of one StudyInstanceUID are one study, of their PatientID. Every
  other image is a study named after its path: `ward/1.png` becomes `ward:1.png`. The report of
  `1.png` is `1.txt`.
"""

import csv
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

from service.cases.manifest import (
    IMAGES,
    ManifestRecord,
    checked_study,
    study_of_line,
    study_of_parquet_row,
    study_of_row,
    study_of_shard_files,
)
from service.cases.records import NewStudy
from service.errors import EclipError, SourceUnreadable, StudyInvalid
from service.imaging.dicom.identifiers import Belonging, belonging, is_dicom

_DICOM_INDEX = "DICOMDIR"
"""Name of a DICOM file without pixels, the index of a medium."""
_END_OF_TAR = bytes(1024)


@dataclass(frozen=True, slots=True)
class Entry:
    """A study to be ingested, or what is wrong with it.

    `place` is a line's number or the operator's own file name, which may name a person.
    """

    place: str
    study: NewStudy | EclipError


@dataclass(frozen=True, slots=True)
class Source:
    """The studies of one source. Each is read when it is taken."""

    entries: Iterator[Entry]
    count: int | None
    """Number of studies; None if only reading all of them could tell."""


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one study in a folder, and the patients that their headers name."""

    study_id: str
    paths: list[Path] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)


def open_source(path: Path) -> Source:
    """Opens a source by its kind. Raises SourceUnreadable for any other file or folder."""
    if path.is_dir():
        return _folder(path)
    kinds: dict[str, Callable[[Path], Source]] = {
        ".jsonl": _lines,
        ".ndjson": _lines,
        ".csv": _table,
        ".parquet": _parquet,
        ".tar": _shard,
    }
    if path.suffix.lower() not in kinds:
        raise SourceUnreadable(
            f"Cannot index a file of this kind. Give a folder, or a file {', '.join(kinds)}."
        )
    return kinds[path.suffix.lower()](path)


def _lines(path: Path) -> Source:
    def entries() -> Iterator[Entry]:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield Entry(f"line {number}", study_of_line(line, path.parent))

    with path.open("rb") as lines:
        return Source(entries(), sum(1 for _ in lines))


def _table(path: Path) -> Source:
    def entries() -> Iterator[Entry]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=1):
                yield Entry(f"row {number}", study_of_row(row, path.parent))

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return Source(entries(), sum(1 for _ in csv.DictReader(file)))
    except (UnicodeDecodeError, csv.Error):
        raise SourceUnreadable(
            "Cannot read the table as CSV in UTF-8. Save it as CSV with the encoding UTF-8."
        ) from None


def _parquet(path: Path) -> Source:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SourceUnreadable(
            "Parquet files need pyarrow. Install eclip-radiology[bulk], or index a studies.jsonl."
        ) from None

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError):
        raise SourceUnreadable(
            "Cannot read the file as Parquet: its header or footer is damaged. Export it again."
        ) from None

    def entries() -> Iterator[Entry]:
        rows = (row for batch in file.iter_batches(1024) for row in batch.to_pylist())
        try:
            for number, row in enumerate(rows, start=1):
                yield Entry(f"row {number}", study_of_parquet_row(row, path.parent))
        except OSError:
            raise SourceUnreadable(
                "Cannot read a part of the Parquet file: it is damaged. Export it again."
            ) from None

    return Source(entries(), file.metadata.num_rows)


def _shard(path: Path) -> Source:
    def entries() -> Iterator[Entry]:
        try:
            with tarfile.open(path) as tar:
                files = (member for member in tar if member.isfile())
                for key, members in groupby(files, key=lambda member: _key(member.name)):
                    yield Entry(
                        key,
                        study_of_shard_files(key, [(m.name, _content(tar, m)) for m in members]),
                    )
        except tarfile.TarError:
            raise SourceUnreadable(
                "Cannot read a part of the shard: the tar file is damaged. Write it again."
            ) from None

    with path.open("rb") as file:
        file.seek(-min(len(_END_OF_TAR), path.stat().st_size), os.SEEK_END)
        if file.read() != _END_OF_TAR:
            raise SourceUnreadable(
                "Cannot read the shard: it is not a tar file, or it was cut short. Write it again."
            )
    return Source(entries(), None)


def _folder(folder: Path) -> Source:
    """Reads all DICOM headers at once, because files of one study may lie in several folders."""
    studies: dict[str, _Files] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == _DICOM_INDEX:
            continue
        own = Belonging(None, None)
        if is_dicom(path):
            own = belonging(path)
        elif path.suffix.lower() not in IMAGES:
            continue
        name = own.study_id or ":".join(path.relative_to(folder).parts)
        files = studies.setdefault(name, _Files(name))
        files.paths.append(path)
        if own.patient_id:
            files.patients.add(own.patient_id)
    if not studies:
        raise SourceUnreadable(
            "The folder holds no DICOM, PNG or JPEG file. Give the folder of the radiographs."
        )
    entries = (
        Entry(str(files.paths[0].relative_to(folder)), _of_files(files))
        for files in studies.values()
    )
    return Source(entries, len(studies))


def _of_files(files: _Files) -> NewStudy | EclipError:
    images = {str(path): path for path in files.paths}

    def record() -> ManifestRecord:
        if len(files.patients) > 1:
            raise StudyInvalid(
                "The DICOM files of this study name several patients. Correct their PatientID."
            )
        texts = dict.fromkeys(path.with_suffix(".txt") for path in files.paths)
        reports = [text.read_text(encoding="utf-8") for text in texts if text.is_file()]
        return ManifestRecord(
            study_id=files.study_id,
            patient_id=next(iter(files.patients), None),
            images=list(images),
            report="\n".join(reports) or None,
        )

    return checked_study(record, lambda name: images[name].read_bytes())


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _key(name: str) -> str:
    """Returns webdataset's key: `a/b.front.png` has the key `a/b`."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))
