"""Computes what an image tower looked at, and says what such a map was measured to be worth.

There are two maps, float32[G,G] over the patches of an image. `attention` is where the tower
looked when it pooled its patches. `text` is what each patch adds to the score of a text.
"""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, PositiveInt

from service.arrays import FloatArray

MapKind = Literal["attention", "text"]
PatchKind = Literal["last_token", "value_path", "class_activation"]
"""What a bundle's patch vectors are.

last_token: the tower's last tokens, at unit length, as bundles of format 1 have them.
value_path: what the pooling attention reads at each patch.
class_activation: the features that a convolutional tower averages.
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


def text_map(
    kind: PatchKind,
    patches: FloatArray,
    attention: FloatArray | None,
    text: FloatArray,
    common: FloatArray,
) -> FloatArray:
    """Returns the map float32[G,G] of a text, from one image's outputs.

    patches: float32[G,G,D]. attention: float32[G,G], where the tower has it. text: float32[D].
    common: float32[D], the mean vector of the bundle's label prompts, zeros if it has none. What
    all texts share says nothing about this text, so it is subtracted.
    """
    if kind == "last_token":
        return patches @ text
    similarity = patches @ (text - common)
    return similarity if attention is None else attention * similarity


def upsampled(grid: FloatArray, height: int, width: int) -> FloatArray:
    """Scales float[G,G] to float32[height,width], bicubic as in the service's overlay."""
    image = Image.fromarray(grid.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
