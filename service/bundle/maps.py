"""Computes what an image tower looked at, and says what such a map was measured to be worth.

There are two maps, float32[G,G] over the patches of an image. `attention` is where the tower
looked when it pooled its patches. `text` is what each patch adds to the cosine with a text.
"""

from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

from service.arrays import FloatArray

MapKind = Literal["attention", "text"]
PatchKind = Literal["last_token", "value_path", "class_activation"]
"""What a bundle's patch vectors are.

value_path: what each patch adds to the embedding through the attention that pools it.
class_activation: what each place adds to the mean that the tower pools by.
last_token: the tower's last tokens, at unit length, as bundles of format 1 have them.
"""
_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measured(BaseModel):
    """One measure of a map, beside that of a Gaussian in the middle of the image.

    low, high: 95 % interval over patients. gain_low: lower end of the 95 % interval of
    `value − centre_prior`, paired by patient.
    """

    model_config = _FROZEN

    value: float
    low: float
    high: float
    centre_prior: float
    gain_low: float


class MapChange(BaseModel):
    """How the maps of the int8 graphs compare with those of fp32, on validation images.

    difference: mean absolute difference, relative to the mean absolute value in fp32. same_peak:
    fraction of the maps whose maximum is at the same patch.
    """

    model_config = _FROZEN

    difference: NonNegativeFloat
    same_peak: Annotated[float, Field(ge=0, le=1)]


class MapQuality(BaseModel):
    """How well a kind of map points at lesions, or at a reader's gaze if no lesion was known.

    pointing_game: fraction of the studies in which the map's maximum lies inside.
    pixel_auc: probability that the map is higher at a pixel inside than at one outside.
    """

    model_config = _FROZEN

    against: Literal["lesion", "gaze"]
    studies: PositiveInt
    pointing_game: Measured
    pixel_auc: Measured

    @property
    def validated(self) -> bool:
        """Whether the map beats its centre prior in both measures, by more than the interval."""
        return self.pointing_game.gain_low > 0 and self.pixel_auc.gain_low > 0


def text_map(patches: FloatArray, text: FloatArray) -> FloatArray:
    """Returns the map float32[...,G,G] of a text float32[D], from patches float32[...,G,G,D].

    Its sum is the part of the cosine of image and text that comes from the patches, unless they are
    last tokens. docs/evaluation.md has what else was tried.
    """
    return patches @ text


def upsampled(grid: FloatArray, height: int, width: int) -> FloatArray:
    """Scales float[G,G] to float32[height,width], bicubic as in the service's overlay."""
    image = Image.fromarray(grid.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
