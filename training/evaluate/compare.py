"""Compares two encoders that should be the same, such as a checkpoint and its bundle."""

from dataclasses import replace

from training.errors import TrainingError
from training.evaluate.encode import BundleEncoder, DualEncoder, TorchEncoder
from training.evaluate.result import Result

TOLERANCE = 1e-4
"""Largest absolute difference of a measure between the two."""


class Disagreement(TrainingError, RuntimeError):
    """Two encoders that should be the same give different numbers."""


def scored_alike(encoder: DualEncoder, other: DualEncoder) -> tuple[DualEncoder, DualEncoder]:
    """Returns the two with one scoring, since the calibrations of one of them serve both.

    A run is scored as its bundle is. Raises Disagreement if two bundles, or two runs, are scored
    differently.
    """
    ours, theirs = encoder.scorer.kind, other.scorer.kind
    if ours == theirs:
        return encoder, other
    match encoder, other:
        case TorchEncoder(), BundleEncoder():
            return replace(encoder, scoring=theirs), other
        case BundleEncoder(), TorchEncoder():
            return encoder, replace(other, scoring=ours)
    raise Disagreement(
        f"labels are scored by {ours} in the first and by {theirs} in the second, so their "
        "probabilities do not compare; export both with the same --scoring, or leave zero_shot "
        "out of --suite"
    )


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
