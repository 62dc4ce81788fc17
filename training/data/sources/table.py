"""Reads published tables: CSV files, plain or gzipped, also as pandas and spreadsheets save them.

- Columns are found whatever their case, their order and the blanks around them. Others may be
  there too. Cells are separated by commas, or by the semicolons or tabs of the header.
- Cells lose the blanks around them. What stands for no value (`nan`, `NA`, `None`) becomes blank.
- Rows that are blank throughout are passed over.
- Numbers may be written as 68 or 68.0; so may ids.
"""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TextIO, TypeVar, cast

from service.studies.line import ROUNDED
from training.data.study import DataError

_NO_VALUE = frozenset({"nan", "<na>", "na", "n/a", "#n/a", "nat", "none", "null"})
"""What pandas, R and spreadsheets write into a cell without a value, in lower case."""
_FLOAT_ID = re.compile(r"(\d+)\.0+")
Choice = TypeVar("Choice")


class Row(dict[str, str]):
    """The cells of a row by column, "" where there is no value. Errors name table, row and column.

    number: the row as a spreadsheet counts it. The header is row 1.
    """

    __slots__ = ("number", "table")

    def __init__(self, cells: Mapping[str, str], table: str, number: int) -> None:
        super().__init__(cells)
        self.table, self.number = table, number

    def required(self, column: str) -> str:
        """Returns a cell; raises DataError if it is blank."""
        if not self[column]:
            raise self.fault(column, "the cell is blank")
        return self[column]

    def identifier(self, column: str) -> str:
        """Returns an id, without the `.0` of a column that was saved as numbers.

        Raises DataError if it is blank, or was rounded to the form 5.04E+07.
        """
        cell = self.required(column)
        if ROUNDED.fullmatch(cell):
            raise self.fault(column, f"{cell!r} is an id that a spreadsheet has rounded")
        whole = _FLOAT_ID.fullmatch(cell)
        return whole[1] if whole else cell

    def figure(self, column: str) -> float | None:
        """Returns a number, None where the cell is blank; raises DataError if it is not one."""
        try:
            value = float(self[column] or "nan")
        except ValueError:
            raise self.fault(column, f"{self[column]!r} is not a number") from None
        if math.isinf(value):
            raise self.fault(column, f"{self[column]!r} is not a finite number")
        return None if math.isnan(value) else value

    def least(self, column: str, minimum: float) -> float:
        """Returns a number; raises DataError if the cell holds none, or one below `minimum`."""
        value = self.figure(column)
        if value is None or value < minimum:
            raise self.fault(column, f"{self[column]!r} is not a number from {minimum:g} up")
        return value

    def choice(self, column: str, choices: Mapping[str, Choice]) -> Choice:
        """Returns what the cell stands for. The keys of `choices` are in lower case.

        Raises DataError, with the choices, for a cell that is none of them.
        """
        try:
            return choices[self[column].lower()]
        except KeyError:
            known = ", ".join(key or "blank" for key in choices)
            raise self.fault(column, f"{self[column]!r} is none of {known}") from None

    def fault(self, column: str, what: str) -> DataError:
        """Returns an error that says where it is and what to do."""
        return DataError(
            f"{self.table}, row {self.number}, column {column}: {what}. Correct the cell, or "
            "download the published file again"
        )


def rows(path: Path, columns: Iterable[str]) -> Iterator[Row]:
    """Yields the rows of `path`, or of `path`.gz if only that exists.

    Raises FileNotFoundError if neither exists, DataError if a column is missing, a row is cut
    short, or the file cannot be read as text.
    """
    found = _found(path)
    try:
        with _open_text(found) as file:
            yield from _rows(file, found.name, tuple(columns))
    except UnicodeDecodeError:
        raise DataError(
            f"{found.name}, line {_first_undecodable(found)}: the text is not UTF-8. Save the "
            "table as CSV in UTF-8, or download it again"
        ) from None
    except (csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"cannot read {found.name}: {error}. Download the published file again"
        ) from error


def present(root: Path, *names: str) -> Path:
    """Returns the first of `names` that lies in `root`; raises FileNotFoundError if none does."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"{root} holds none of {', '.join(names)}; download one of them")


def _rows(file: TextIO, table: str, columns: Sequence[str]) -> Iterator[Row]:
    first = file.readline()
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(chain([first], file), delimiter=delimiter)
    names = _names(next(reader, []), columns, table)
    needed = max((names.index(column) for column in columns), default=-1) + 1
    for number, raw in enumerate(reader, start=2):
        cells = [_value(cell) for cell in raw]
        if not any(cells):
            continue
        if len(cells) < needed or any(cells[len(names) :]):
            raise DataError(
                f"{table}, row {number}: it has {len(cells)} cells, and the header {len(names)}. "
                "Download the published file again"
            )
        yield Row(dict(zip(names, cells, strict=False)), table, number)


def _names(header: Sequence[str], columns: Sequence[str], table: str) -> list[str]:
    """Returns the header with the names that `columns` has for them."""
    asked = {name.lower(): name for name in columns}
    names = [asked.get(name.strip().lower(), name.strip()) for name in header]
    if not any(names):
        raise DataError(f"{table} is empty; download the published file again")
    if missing := sorted(set(columns) - set(names)):
        raise DataError(
            f"{table} has no column {', '.join(missing)}; download the published file again"
        )
    if twice := sorted(name for name in columns if names.count(name) > 1):
        raise DataError(f"{table} has the column {', '.join(twice)} twice; remove one of the two")
    return names


def _value(cell: str) -> str:
    stripped = cell.strip()
    return "" if stripped.lower() in _NO_VALUE else stripped


def _found(path: Path) -> Path:
    zipped = path.with_name(f"{path.name}.gz")
    for each in (path, zipped):
        if each.is_file():
            return each
    raise FileNotFoundError(f"{path.parent} holds no {path.name} or {zipped.name}; download it")


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")


def _open_bytes(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _first_undecodable(path: Path) -> int:
    """Returns the number of the first line that is not UTF-8. The whole file is known not to be."""
    with _open_bytes(path) as file:
        return next(number for number, line in enumerate(file, start=1) if not _is_utf8(line))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
