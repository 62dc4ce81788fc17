"""What can be indexed: studies.jsonl, .csv or .parquet, tar shards, or a folder of radiographs.

- A manifest has one study a line or row, with the fields of `ManifestRecord`; in a CSV, `images`
  and `findings` are separated by semicolons. Images are paths beside it.
- A tar shard (webdataset) has one study a key: `KEY.json` with such fields, `KEY.txt` the report,
  and images by their suffix. Without a `study_id` it is named after its key, as `ward:1`.
- In a folder, DICOM files of one StudyInstanceUID are one study of its PatientID; every other image
  is a study named after its path in that folder, as `ward:1.png`. A text file of an image's name,
  but `.txt`, is its report.
"""

import csv
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from service.cases.library import Identifier, NewStudy, StudyRecord
from service.errors import EclipError, SourceUnreadable, StudyInvalid
from service.imaging.dicom.identifiers import Belonging, belonging, is_dicom

IMAGES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg"})
HEATMAP = "heatmap.png"
END_OF_TAR = bytes(1024)
NO_IMAGE = "DICOMDIR"
MAX_VIEWS = 16
_LISTS = ("images", "findings")
_TRAINING_ONLY = {"gaze", "split"}
_OBJECT = TypeAdapter(dict[str, Any])
Read = Callable[[str], bytes]
Values = Mapping[str, Any]


class ManifestRecord(StudyRecord):
    """A study of a manifest; `images` are paths relative to it."""

    study_id: Identifier
    images: Annotated[list[str], Field(max_length=MAX_VIEWS)] = []
    gaze: JsonValue = None
    split: JsonValue = None
    """Both are training's; not ingested."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A study to be ingested, or what is wrong with it. `place` may name a person: it is the
    operator's own file name, or a line's number.
    """

    place: str
    study: NewStudy | EclipError


@dataclass(frozen=True, slots=True)
class Source:
    """The studies of one source, read as they are taken. count: None where only reading tells."""

    entries: Iterator[Entry]
    count: int | None


@dataclass(frozen=True, slots=True)
class _Files:
    """A study of a folder, and whom its headers name."""

    study_id: str
    paths: list[Path] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)


def open_source(path: Path) -> Source:
    """Raises SourceUnreadable for what is none of the kinds above."""
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
        raise SourceUnreadable(f"Studies come from a folder or a file {', '.join(kinds)}.")
    return kinds[path.suffix.lower()](path)


def _lines(path: Path) -> Source:
    def entries() -> Iterator[Entry]:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield Entry(f"line {number}", _of_line(line, path.parent))

    with path.open("rb") as lines:
        return Source(entries(), sum(1 for _ in lines))


def _table(path: Path) -> Source:
    def entries() -> Iterator[Entry]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=1):
                yield Entry(f"row {number}", _of_row(row, path.parent))

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return Source(entries(), sum(1 for _ in csv.DictReader(file)))
    except (UnicodeDecodeError, csv.Error):
        raise SourceUnreadable("The table is not CSV in UTF-8. Save it as that.") from None


def _parquet(path: Path) -> Source:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SourceUnreadable(
            "Parquet needs pyarrow: install eclip-radiology[bulk], or index a studies.jsonl."
        ) from None

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError):
        raise SourceUnreadable("The file is no Parquet. Write it again.") from None

    def entries() -> Iterator[Entry]:
        rows = (row for batch in file.iter_batches(1024) for row in batch.to_pylist())
        try:
            for number, row in enumerate(rows, start=1):
                yield Entry(f"row {number}", _of_parquet(row, path.parent))
        except OSError:
            raise SourceUnreadable("The Parquet file is damaged. Write it again.") from None

    return Source(entries(), file.metadata.num_rows)


def _shard(path: Path) -> Source:
    def entries() -> Iterator[Entry]:
        try:
            with tarfile.open(path) as tar:
                files = (member for member in tar if member.isfile())
                for key, members in groupby(files, key=lambda member: _key(member.name)):
                    yield Entry(key, _of_parts(key, [(m.name, _content(tar, m)) for m in members]))
        except tarfile.TarError:
            raise SourceUnreadable("The shard is damaged. Write it again.") from None

    with path.open("rb") as file:
        file.seek(-min(len(END_OF_TAR), path.stat().st_size), os.SEEK_END)
        if file.read() != END_OF_TAR:
            raise SourceUnreadable("The shard is no tar, or cut short. Write it again.")
    return Source(entries(), None)


def _folder(folder: Path) -> Source:
    """DICOM headers are read at once: files of one study need not lie together."""
    studies: dict[str, _Files] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == NO_IMAGE:
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
        raise SourceUnreadable("The folder holds no DICOM, PNG or JPEG file.")
    entries = (
        Entry(str(files.paths[0].relative_to(folder)), _of_files(files))
        for files in studies.values()
    )
    return Source(entries, len(studies))


def _of_line(line: bytes, folder: Path) -> NewStudy | EclipError:
    return _checked(lambda: ManifestRecord.model_validate_json(line), _beside(folder))


def _of_row(row: Values, folder: Path) -> NewStudy | EclipError:
    values = {name: cell for name, cell in row.items() if cell not in ("", None)}
    lists = {name: _split(values[name]) for name in _LISTS if name in values}
    return _checked(lambda: ManifestRecord.model_validate(values | lists), _beside(folder))


def _of_parquet(row: Values, folder: Path) -> NewStudy | EclipError:
    """A manifest of `eclip-train data` has its metadata as a JSON object's text."""
    values = {k: v for k, v in row.items() if v is not None and k not in _TRAINING_ONLY}
    if isinstance(values.get("metadata"), str):
        try:
            values["metadata"] = _OBJECT.validate_json(values["metadata"])
        except ValidationError as error:
            return _invalid(error)
    return _checked(lambda: ManifestRecord.model_validate(values), _beside(folder))


def _of_parts(key: str, parts: Iterable[tuple[str, bytes]]) -> NewStudy | EclipError:
    files = {PurePosixPath(name).name.partition(".")[2].lower(): data for name, data in parts}
    images = [kind for kind in files if f".{kind.rpartition('.')[2]}" in IMAGES]

    def record() -> ManifestRecord:
        if HEATMAP in files:
            raise StudyInvalid(
                "A shard of `eclip-train shards` knows no patient. Index the manifest that it was "
                "made of."
            )
        values = {"study_id": key.replace("/", ":")} | _OBJECT.validate_json(
            files.get("json", b"{}")
        )
        if "txt" in files:
            values["report"] = files["txt"].decode()
        return ManifestRecord.model_validate(values | {"images": images})

    return _checked(record, files.__getitem__)


def _of_files(files: _Files) -> NewStudy | EclipError:
    images = {str(path): path for path in files.paths}

    def record() -> ManifestRecord:
        if len(files.patients) > 1:
            raise StudyInvalid("Files of one StudyInstanceUID name several patients. Mend them.")
        texts = dict.fromkeys(path.with_suffix(".txt") for path in files.paths)
        reports = [text.read_text(encoding="utf-8") for text in texts if text.is_file()]
        return ManifestRecord(
            study_id=files.study_id,
            patient_id=next(iter(files.patients), None),
            images=list(images),
            report="\n".join(reports) or None,
        )

    return _checked(record, lambda name: images[name].read_bytes())


def _checked(record: Callable[[], ManifestRecord], read: Read) -> NewStudy | EclipError:
    """The study of a record with its images' bytes, or what is wrong with it."""
    try:
        valid = record()
        study = StudyRecord(**valid.model_dump(exclude={"study_id", "images", *_TRAINING_ONLY}))
        return NewStudy(valid.study_id, study, tuple(read(name) for name in valid.images))
    except ValidationError as error:
        return _invalid(error)
    except UnicodeDecodeError:
        return StudyInvalid("The report is not UTF-8. Save it as that.")
    except OSError as error:
        return StudyInvalid(f"An image or a report cannot be read: {error.strerror}.")
    except EclipError as error:
        return error


def _invalid(error: ValidationError) -> StudyInvalid:
    first = error.errors(include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "line"
    return StudyInvalid(f"{where}: {first['msg']}")


def _beside(folder: Path) -> Read:
    def read(name: str) -> bytes:
        try:
            path = (folder / name).resolve()
        except ValueError:
            raise StudyInvalid("An image path is no path.") from None
        if not path.is_relative_to(folder.resolve()):
            raise StudyInvalid("An image path leaves the manifest's folder. Use relative paths.")
        return path.read_bytes()

    return read


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _key(name: str) -> str:
    """webdataset's: a path up to the first dot of its last part."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0]))


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]
