"""Turns one line, row or group of files of a source into a study, or says what is wrong with it."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from service.cases.records import NewStudy, StudyRecord
from service.errors import EclipError, StudyInvalid
from service.identifiers import Identifier

IMAGES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg"})
"""Suffixes of the files that hold radiographs."""
MAX_VIEWS = 16
"""Images that one study may have."""
_TRAINING_HEATMAP = "heatmap.png"
"""Name of a file in a shard of `eclip-train shards`, whose studies name no patient."""
_LISTS = ("images", "findings")
_OBJECT = TypeAdapter(dict[str, Any])
Read = Callable[[str], bytes]
"""Returns an image's bytes by the name that the record gives it."""
Values = Mapping[str, Any]


class ManifestRecord(StudyRecord):
    """A study of a manifest. `images` are paths relative to it.

    `gaze` and `split` are accepted and not ingested: training reads them from the same manifest.
    """

    study_id: Identifier
    images: Annotated[list[str], Field(max_length=MAX_VIEWS)] = []
    gaze: Annotated[Any, Field(exclude=True)] = None
    split: Annotated[Any, Field(exclude=True)] = None


def study_of_line(line: bytes, folder: Path) -> NewStudy | EclipError:
    """Returns the study of a JSON line. Its images are paths relative to `folder`."""
    return checked_study(lambda: ManifestRecord.model_validate_json(line), _read_within(folder))


def study_of_row(row: Values, folder: Path) -> NewStudy | EclipError:
    """Returns the study of a CSV row. Lists are separated by semicolons."""
    values = {name: cell for name, cell in row.items() if cell not in ("", None)}
    lists = {name: _split(values[name]) for name in _LISTS if name in values}
    return checked_study(
        lambda: ManifestRecord.model_validate(values | lists), _read_within(folder)
    )


def study_of_parquet_row(row: Values, folder: Path) -> NewStudy | EclipError:
    """Returns the study of a Parquet row. `metadata` may be the text of a JSON object."""
    values = {name: value for name, value in row.items() if value is not None}
    if isinstance(values.get("metadata"), str):
        try:
            values["metadata"] = _OBJECT.validate_json(values["metadata"])
        except ValidationError as error:
            return _invalid(error)
    return checked_study(lambda: ManifestRecord.model_validate(values), _read_within(folder))


def study_of_shard_files(key: str, parts: Iterable[tuple[str, bytes]]) -> NewStudy | EclipError:
    """Returns the study of one key of a tar shard. parts: (name, bytes) of its files."""
    files = {PurePosixPath(name).name.partition(".")[2].lower(): data for name, data in parts}
    images = [kind for kind in files if f".{kind.rpartition('.')[2]}" in IMAGES]

    def record() -> ManifestRecord:
        if _TRAINING_HEATMAP in files:
            raise StudyInvalid(
                "The shard was written by `eclip-train shards`, and its studies name no patient. "
                "Index the manifest that it was made from."
            )
        values = {"study_id": key.replace("/", ":")} | _OBJECT.validate_json(
            files.get("json", b"{}")
        )
        if "txt" in files:
            values["report"] = files["txt"].decode()
        return ManifestRecord.model_validate(values | {"images": images})

    return checked_study(record, files.__getitem__)


def checked_study(record: Callable[[], ManifestRecord], read: Read) -> NewStudy | EclipError:
    """Returns the study of a record with its images' bytes, or what is wrong with it."""
    try:
        valid = record()
        study = StudyRecord(**valid.model_dump(exclude={"study_id", "images"}))
        return NewStudy(valid.study_id, study, tuple(read(name) for name in valid.images))
    except ValidationError as error:
        return _invalid(error)
    except UnicodeDecodeError:
        return StudyInvalid("The report is not UTF-8 text. Save it in that encoding.")
    except OSError as error:
        return StudyInvalid(
            f"An image or a report cannot be read: {error.strerror}. Check the path and its "
            "permissions."
        )
    except EclipError as error:
        return error


def _invalid(error: ValidationError) -> StudyInvalid:
    first = error.errors(include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "line"
    return StudyInvalid(f"{where}: {first['msg']}")


def _read_within(folder: Path) -> Read:
    """Returns a reader of files in `folder`. It raises StudyInvalid for a path outside."""

    def read(name: str) -> bytes:
        try:
            path = (folder / name).resolve()
        except ValueError:
            raise StudyInvalid(
                "An image path holds a character that paths cannot have. Correct it."
            ) from None
        if not path.is_relative_to(folder.resolve()):
            raise StudyInvalid(
                "An image path leaves the manifest's folder. Use a path relative to that folder."
            )
        return path.read_bytes()

    return read


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]
