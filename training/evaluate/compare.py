"""Compares two encoders that should be the same, such as a checkpoint and its bundle."""

from training.errors import TrainingError
from training.evaluate.result import Result

TOLERANCE = 1e-4
"""Largest absolute difference of a measure between the two."""


class Disagreement(TrainingError, RuntimeError):
    """Two encoders that should be the same give different numbers."""


def differences(reference: Result, other: Result) -> dict[str, float]:
    """Returns {measure: `other` minus `reference`}; raises Disagreement if one lacks a measure."""
    ours, theirs = reference.numbers(), other.numbers()
    if alone := sorted(set(ours) ^ set(theirs)):
        raise Disagreement(f"only one of the two was measured on {', '.join(alone)}")
    return {name: theirs[name].value - ours[name].value for name in ours}


def largest(gaps: dict[str, float]) -> tuple[str, float]:
    """Returns the measure that differs most, and by how much; ("", 0) if nothing was measured."""
    return max(
        ((name, abs(gap)) for name, gap in gaps.items()), key=lambda p: p[1], default=("", 0.0)
    )


def check_agreement(gaps: dict[str, float]) -> None:
    """Raises Disagreement, naming the worst measure, unless all are within `TOLERANCE`."""
    over = {name: gap for name, gap in gaps.items() if not abs(gap) <= TOLERANCE}
    if over:
        name, gap = largest(over)
        raise Disagreement(
            f"{len(over)} of {len(gaps)} measures differ by more than {TOLERANCE:.0e}, "
            f"most of all {name}, by {gap:.2e}"
        )
