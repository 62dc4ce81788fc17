"""Reads published tables: CSV files, plain or gzipped."""

import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, cast

from training.data.study import DataError


def rows(path: Path, columns: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yields the rows of `path`, or of `path`.gz if only that exists.

    Raises FileNotFoundError if neither exists, DataError if a column is missing.
    """
    with _open(path) as file:
        table = csv.DictReader(file, restval="")
        if missing := sorted(set(columns) - set(table.fieldnames or ())):
            raise DataError(
                f"{path.name} has no column {', '.join(missing)}; download the published file again"
            )
        yield from table


def present(root: Path, *names: str) -> Path:
    """Returns the first of `names` that lies in `root`; raises FileNotFoundError if none does."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"{root} holds none of {', '.join(names)}; download one of them")


def _open(path: Path) -> TextIO:
    zipped = path.with_name(f"{path.name}.gz")
    if zipped.is_file() and not path.is_file():
        return cast(TextIO, gzip.open(zipped, "rt", encoding="utf-8-sig", newline=""))
    return path.open(encoding="utf-8-sig", newline="")
