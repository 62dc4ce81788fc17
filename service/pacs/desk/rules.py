"""Decides which received radiographs get a report, by a table of rules (`ECLIP_RULES`).

The table is a CSV file with the columns modality, body_part, view, station and process. The first
row that matches an image decides, by `yes` or `no`. Where no row does, the default decides: chests
are processed, and images that name no body part. Example:

    modality,body_part,view,station,process
    ,,,ICU*,no
    DX,CHEST,PA,,yes
    *,*,*,*,no
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import SettingInvalid
from service.imaging.dicom.body_parts import CHEST, stated_regions
from service.pacs.desk.received import Received
from service.studies.own_drafts import MANUFACTURER

_PATTERNS = ("modality", "body_part", "view", "station")
_COLUMNS = (*_PATTERNS, "process")
_ANSWERS = {"yes": True, "no": False}
_MOST_ROWS = 1000
_LONGEST_PATTERN = 64
"""Characters of a pattern, as of a value."""
_MOST_STARS = 4
"""Asterisks of a pattern: each multiplies the steps of a comparison."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an image is processed, and what said so: "row 3", or a name."""

    process: bool
    rule: str


@dataclass(frozen=True, slots=True)
class _Row:
    patterns: tuple[re.Pattern[str], ...]
    process: bool

    def matches(self, image: Received) -> bool:
        values = (getattr(image, column) for column in _PATTERNS)
        return all(p.fullmatch(value) for p, value in zip(self.patterns, values, strict=True))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rows of a table. Without rows the default decides."""

    rows: Sequence[_Row] = ()

    def verdict(self, image: Received) -> Verdict:
        """Returns whether the image is processed. What is no radiograph never is."""
        if not image.radiograph:
            return Verdict(False, "no-radiograph")
        if image.manufacturer == MANUFACTURER.upper():
            return Verdict(False, "own-draft")
        for number, row in enumerate(self.rows, start=1):
            if row.matches(image):
                return Verdict(row.process, f"row {number}")
        regions = stated_regions(image.body_part)
        return Verdict(not regions or CHEST in regions, "default")


def read_rules(path: Path | None) -> Rules:
    """Returns the rules of a CSV file; the default alone for None.

    Raises SettingInvalid, which names the row and the column that are wrong.
    """
    if path is None:
        return Rules()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return Rules(tuple(_rows(csv.reader(file, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingInvalid(
            f"ECLIP_RULES: the file cannot be read as CSV in UTF-8 ({type(error).__name__}). "
            "Correct its path, or export it again."
        ) from None


def _rows(lines: Iterator[list[str]]) -> Iterator[_Row]:
    columns = [name.strip().lower() for name in next(lines, [])]
    if sorted(columns) != sorted(_COLUMNS):
        raise SettingInvalid(
            f"ECLIP_RULES: the first line must name the columns {', '.join(_COLUMNS)}, each once."
        )
    filled = (cells for cells in lines if any(cell.strip() for cell in cells))
    for number, cells in enumerate(filled, start=1):
        if number > _MOST_ROWS:
            raise SettingInvalid(f"ECLIP_RULES: more than {_MOST_ROWS} rows. Merge some.")
        if len(cells) != len(columns):
            raise _wrong(number, "process", f"the row must have {len(columns)} cells")
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
        patterns = tuple(_pattern(number, column, row[column]) for column in _PATTERNS)
        yield _Row(patterns, _answer(number, row["process"]))


def _pattern(number: int, column: str, text: str) -> re.Pattern[str]:
    """Returns the pattern of a cell, in which `*` is any text; a blank cell matches anything."""
    if len(text) > _LONGEST_PATTERN or text.count("*") > _MOST_STARS:
        limits = f"at most {_LONGEST_PATTERN} characters and {_MOST_STARS} asterisks are allowed"
        raise _wrong(number, column, limits)
    parts = (text.upper() or "*").split("*")
    return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)


def _answer(number: int, text: str) -> bool:
    if text.lower() not in _ANSWERS:
        raise _wrong(number, "process", "write yes or no")
    return _ANSWERS[text.lower()]


def _wrong(number: int, column: str, what: str) -> SettingInvalid:
    return SettingInvalid(f"ECLIP_RULES: row {number}, column {column}: {what}.")
