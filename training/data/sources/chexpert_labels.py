"""Reads the 14 columns of the CheXpert labeller (Irvin et al. 2019, arXiv 1901.07031).

A cell is 1 (present), 0 (denied), -1 or `u` (uncertain), or blank (not mentioned). A report that
mentions nothing has 1 under No Finding, so a row of blanks is one that was not labelled.
"""

from training.data.labels import CHEXPERT, as_uncertain
from training.data.sources.table import Row
from training.data.study import Scalar

_PRESENT, _UNCERTAIN = 1.0, -1.0
_VERDICTS = (_PRESENT, 0.0, _UNCERTAIN, None)


def chexpert_findings(row: Row) -> tuple[str, ...] | None:
    """Returns the columns that are 1; None for a row without a verdict.

    Raises DataError for a cell that is not a label.
    """
    verdicts = {_verdict(row, name) for name in CHEXPERT}
    return None if verdicts == {None} else _columns_at(row, _PRESENT)


def chexpert_metadata(row: Row) -> dict[str, Scalar]:
    """Returns the columns that are -1, as metadata. Raises DataError as `chexpert_findings`."""
    return as_uncertain(_columns_at(row, _UNCERTAIN))


def _columns_at(row: Row, verdict: float) -> tuple[str, ...]:
    return tuple(name.lower() for name in CHEXPERT if _verdict(row, name) == verdict)


def _verdict(row: Row, column: str) -> float | None:
    if row[column].lower() == "u":
        return _UNCERTAIN
    value = row.figure(column)
    if value not in _VERDICTS:
        raise row.fault(column, f"{row[column]!r} is not a label (1, 0, -1, u or blank)")
    return value
