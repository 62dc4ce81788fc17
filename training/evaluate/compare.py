"""Two encoders that should be the same, such as a checkpoint and its bundle, number by number."""

from training.errors import TrainingError
from training.evaluate.result import Result

TOLERANCE = 1e-4


class Disagreement(TrainingError, RuntimeError):
    """Two encoders that should be the same measure differently."""


def differences(one: Result, other: Result) -> dict[str, float]:
    """Measure → how far `other` is from `one`; raises Disagreement where only one has a number."""
    ours, theirs = one.numbers(), other.numbers()
    if alone := sorted(set(ours) ^ set(theirs)):
        raise Disagreement(f"only one of the two has {', '.join(alone)}")
    return {name: theirs[name].value - ours[name].value for name in ours}


def largest(found: dict[str, float]) -> tuple[str, float]:
    """The measure that differs most, and by how much; ("", 0) where nothing was measured."""
    return max(
        ((name, abs(gap)) for name, gap in found.items()), key=lambda p: p[1], default=("", 0.0)
    )


def check_agreement(found: dict[str, float]) -> None:
    """Raise Disagreement, naming the worst measure, unless all are within `TOLERANCE`."""
    over = {name: gap for name, gap in found.items() if not abs(gap) <= TOLERANCE}
    if over:
        name, gap = largest(over)
        raise Disagreement(
            f"{len(over)} of {len(found)} measures differ by more than {TOLERANCE:.0e}, "
            f"most of all {name}, by {gap:.2e}"
        )
