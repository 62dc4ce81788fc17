"""Reads from a model how it scores labels: by softmax or, if it was trained so, by sigmoid."""

from typing import Any

from service.bundle.scoring import Scorer, ScoringKind
from training.errors import USAGE_FAULT, TrainingError


class ScoringError(TrainingError, ValueError):
    """A model cannot be scored as was asked for."""

    exit_status = USAGE_FAULT


def scorer_of(model: Any, kind: ScoringKind | None = None) -> Scorer:
    """Returns what scores labels with a model that has open_clip's logit_scale, and maybe its bias.

    kind: None takes sigmoid if the model has a bias, which only training by sigmoid learns, else
    softmax. Raises ScoringError for sigmoid without a bias.
    """
    bias = getattr(model, "logit_bias", None)
    if kind == "sigmoid" and bias is None:
        raise ScoringError(
            "the model has no logit bias, so it was not trained by sigmoid and its similarities "
            "are no probabilities; leave --scoring out, or choose softmax"
        )
    return Scorer(
        kind=kind or ("softmax" if bias is None else "sigmoid"),
        scale=float(model.logit_scale.detach().exp()),
        bias=0.0 if bias is None else float(bias.detach()),
    )
