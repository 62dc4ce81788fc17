"""Describes labels.json: named label sets, each label's prompts, and its calibration."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, RootModel

from service.bundle.scoring import Probabilities, sigmoid

Prompt = Annotated[str, Field(min_length=1, max_length=512, pattern=r"\S")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Prompts(_Frozen):
    """Sentences that say a finding is present, and optionally sentences that say it is absent."""

    present: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=32)]
    absent: Annotated[tuple[Prompt, ...], Field(max_length=32)] = ()


class Calibration(_Frozen):
    """Platt scaling, fitted on a validation split: p = sigmoid(slope · score + offset).

    The score is the bundle's own: see `service.bundle.scoring.Scorer`.
    abstain: lower and upper probability; between them a finding is too uncertain to be called.

    Reference: J. Platt (1999), Probabilistic outputs for support vector machines.
    """

    slope: float
    offset: float
    abstain: tuple[float, float]

    def probability(self, score: npt.ArrayLike) -> Probabilities:
        """Returns the probability of each score."""
        return sigmoid(self.slope * np.asarray(score, np.float64) + self.offset)


class Label(Prompts):
    """A label of a bundle. `calibration` is None if it was exported without a validation split."""

    calibration: Calibration | None = None


class LabelSets(RootModel[dict[str, dict[str, Label]]]):
    """All label sets of a bundle: label set name → label name → Label."""

    model_config = ConfigDict(frozen=True)
