"""Reads the studies of a manifest: a studies.jsonl, a table as CSV, or Parquet."""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from service.errors import SourceUnreadable, StudyInvalid
from service.studies.line import StudyLine, field_name, study_of_json, study_of_values

ROWS = 4096
"""Rows of a Parquet file that are held in memory at a time."""
_DELIMITERS = ",;\t|"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WHOLE = re.compile(r"(-?\d+)\.0")
"""A whole number as pandas writes it where a column has gaps. A CSV has no types to tell it."""
_IDS = ("study_id", "patient_id")
_FOR_EXCEL = re.compile(r"sep=.", re.IGNORECASE)
"""A line before the header that tells Excel what separates the cells."""
Row = list[str] | StudyInvalid
"""The cells of a CSV's row, or why it cannot be read."""


@dataclass(frozen=True, slots=True)
class Found:
    """A study, or what is wrong with it.

    `place` is a line's number or the operator's own file name, which may name a person.
    """

    place: str
    study: StudyLine | StudyInvalid


def read_jsonl(path: Path) -> tuple[Iterator[Found], int]:
    """Returns the studies of a studies.jsonl, and how many lines are not blank.

    Byte order marks and blank lines are passed over.
    """
    _refuse_utf_16(path)

    def found() -> Iterator[Found]:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if _filled(line):
                    yield Found(f"line {number}", study_of_json(line))

    with path.open("rb") as lines:
        return found(), sum(map(_filled, lines))


def read_csv(path: Path) -> tuple[Iterator[Found], int]:
    """Returns the studies of a table, and how many rows it has below its header, which is row 1.

    Commas, semicolons, tabs or bars separate the cells. Raises SourceUnreadable for a table
    without a column `study_id`.
    """
    _refuse_utf_16(path)
    header, delimiter = _header(path)

    def found() -> Iterator[Found]:
        for number, row in enumerate(islice(_rows(path, delimiter), 1, None), start=2):
            study = row if isinstance(row, StudyInvalid) else _study_of_cells(header, row)
            yield Found(f"row {number}", study)

    return found(), sum(1 for _ in _rows(path, delimiter)) - 1


def read_parquet(path: Path) -> tuple[Iterator[Found], int]:
    """Returns the studies of a Parquet file and their number. Any type of text column will do.

    Raises SourceUnreadable for another kind of file, and while reading one that is damaged.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SourceUnreadable(
            "Parquet files need pyarrow. Install eclip-radiology[bulk], or use a studies.jsonl."
        ) from None

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError):
        raise SourceUnreadable(
            "Cannot read the file as Parquet: its header or footer is damaged. Export it again."
        ) from None
    _check_columns(file.schema_arrow.names)

    def found() -> Iterator[Found]:
        numbers = count(1)
        try:
            for batch in file.iter_batches(ROWS):
                for row in batch.to_pylist(maps_as_pydicts="lossy"):
                    yield Found(f"row {next(numbers)}", study_of_values(row))
        except (pa.ArrowException, OSError):
            raise SourceUnreadable(
                "Cannot read a part of the Parquet file: it is damaged. Export it again."
            ) from None

    return found(), file.metadata.num_rows


def _filled(line: bytes) -> bool:
    return bool(line.removeprefix(codecs.BOM_UTF8).strip())


def _refuse_utf_16(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(2) in _UTF_16:
            raise SourceUnreadable("The file is UTF-16 text. Save it with the encoding UTF-8.")


def _rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Yields the rows that have a cell with text; the first is the header.

    A byte that is not UTF-8 becomes a lone surrogate, which the check of its field refuses.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if not _FOR_EXCEL.fullmatch(file.readline().rstrip("\r\n")):
            file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:  # a cell over the reader's limit: a quote that never ends
                yield StudyInvalid("The row cannot be read as CSV. Check its quotes.")
            else:
                if any(map(str.strip, row)):
                    yield row


def _header(path: Path) -> tuple[list[str], str]:
    """Returns the columns, and what separates them: the sign that shows a column `study_id`."""
    for delimiter in _DELIMITERS:
        header = next(_rows(path, delimiter), [])
        if not isinstance(header, StudyInvalid) and "study_id" in map(field_name, header):
            _check_columns(header)
            return header, delimiter
    raise SourceUnreadable(
        "Cannot read the table as CSV with a column `study_id`. Name the columns in the first "
        "line, and separate them with commas, semicolons or tabs."
    )


def _check_columns(names: list[str]) -> None:
    fields = [field for field in map(field_name, names) if field]
    if "study_id" not in fields:
        raise SourceUnreadable("The table has no column `study_id`. Add one.")
    if twice := {field for field in fields if fields.count(field) > 1}:
        raise SourceUnreadable(f"The table has two columns {', '.join(sorted(twice))}. Keep one.")


def _study_of_cells(header: list[str], row: list[str]) -> StudyLine | StudyInvalid:
    if any(map(str.strip, row[len(header) :])):
        return StudyInvalid("The row has more cells than the header. Check its quotes.")
    named = {name: cell for name, cell in zip(header, row, strict=False) if name or cell.strip()}
    return study_of_values({name: _cell(name, cell) for name, cell in named.items()})


def _cell(name: str, cell: str) -> str:
    whole = _WHOLE.fullmatch(cell.strip()) if field_name(name) in _IDS else None
    return whole[1] if whole else cell
