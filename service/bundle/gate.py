"""Tells upright frontal chest radiographs from other images by their layout: 8×8 cells of grey.

A bundle's gate knows the mean and the spread of its validation images' layouts. It compares an
image with itself upside down, on either side and inverted: a chest radiograph lies much nearer to
the validation images than any of these does, whatever its exposure, its hospital or its patient's
age. A turned one does not, nor does a hand, a leg or a photograph. Far from all that was seen, the
comparison still holds: a gate that was fitted on synthetic phantoms alone passes real radiographs
(`python -m tests.benchmarks.gate`).
"""

import base64
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from service.arrays import FloatArray, UInt8
from service.bundle.field import exposed

CELLS = 8
"""Cells a side of a layout."""
CLIP = 2.0
"""Standard deviations from an image's mean grey at which a cell's value is cut off."""
LEAST_ACCURACY = 0.8
"""Balanced accuracy below which a gate only warns."""
Fraction = Annotated[float, Field(ge=0, le=1)]
_SIZE = CELLS**2


def _packed(numbers: int) -> Any:
    """The field of so many float32 numbers in base64."""
    return Field(pattern=rf"^[A-Za-z0-9+/]{{{-(-numbers * 32 // 6)}}}=*$")


class Gate(BaseModel):
    """A fitted gate, and how well it does on validation images that it was not fitted on.

    mean, precision: of layouts, float32[64] and float32[64,64], packed as little-endian base64.
    threshold: the least score at which an image is refused. images: how many validation images it
    was measured on. refused: fraction of these over the threshold, which should not be. detected:
    kind of other image → fraction over the threshold, which should be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: Annotated[str, _packed(_SIZE)]
    precision: Annotated[str, _packed(_SIZE**2)]
    threshold: float
    images: PositiveInt
    refused: Fraction
    detected: dict[str, Fraction]

    @classmethod
    def of(cls, mean: FloatArray, precision: FloatArray) -> Self:
        """Returns a gate that has not been measured: it refuses nothing."""
        return cls(
            mean=_pack(mean),
            precision=_pack(precision),
            threshold=float(np.finfo(np.float32).max),
            images=1,
            refused=0,
            detected={},
        )

    def measured(self, threshold: float, own: FloatArray, others: Mapping[str, FloatArray]) -> Self:
        """Returns the gate with a threshold and its rates there.

        own: scores of validation images. others: kind → scores of other images.
        """
        update = {
            "threshold": threshold,
            "images": len(own),
            "refused": float((own >= threshold).mean()),
            "detected": {kind: float((s >= threshold).mean()) for kind, s in others.items()},
        }
        return self.model_copy(update=update)

    @property
    def accuracy(self) -> float:
        """Balanced accuracy: the mean of the fractions rightly passed and rightly refused."""
        if not self.detected:
            return 0.0
        return (1 - self.refused + sum(self.detected.values()) / len(self.detected)) / 2

    @property
    def decides(self) -> bool:
        """Whether the gate is accurate enough to refuse an image; otherwise it warns."""
        return self.accuracy >= LEAST_ACCURACY

    def score(self, pixels: UInt8) -> float:
        """Returns how much farther the image uint8[H,W] is than its nearest other position.

        It is a difference of squared Mahalanobis distances: twice the logarithm of a likelihood
        ratio. Below 0 the image is most likely upright.
        """
        upright = layout(exposed(pixels))
        turned = (upright[::-1], np.rot90(upright), np.rot90(upright, 3), -upright)
        return self._distance(upright) - min(map(self._distance, turned))

    def _distance(self, cells: FloatArray) -> float:
        offset = cells.ravel() - self._mean
        return float(offset @ self._precision @ offset)

    @cached_property
    def _mean(self) -> FloatArray:
        return _unpack(self.mean)

    @cached_property
    def _precision(self) -> FloatArray:
        return _unpack(self.precision).reshape(_SIZE, _SIZE)


def layout(pixels: UInt8) -> FloatArray:
    """Returns the mean grey of each cell of an image uint8[H,W] as float32[8,8].

    It is standardised over the image, so that brightness and contrast do not matter, and cut off
    at ±`CLIP`, so that a white marker or a black border matters little.
    """
    image = Image.fromarray(pixels).resize((CELLS, CELLS), Image.Resampling.BOX)
    cells = np.asarray(image, np.float32)
    standardised = (cells - cells.mean()) / max(float(cells.std()), 1.0)
    cut: FloatArray = np.clip(standardised, -CLIP, CLIP)
    return cut


def _pack(values: FloatArray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def _unpack(packed: str) -> FloatArray:
    return np.frombuffer(base64.b64decode(packed), "<f4").astype(np.float32)
