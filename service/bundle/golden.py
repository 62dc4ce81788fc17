"""Keeps what the towers answered at export, for the service's test of itself."""

import base64
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from service.arrays import FloatArray, UInt8
from service.bundle.preprocess import ImageSpec


class Golden(BaseModel):
    """The towers' answers at export, for a self-test before the first request.

    text: what the text tower read; the image tower read `golden_pixels`. The embeddings are packed
    by `pack_vector`. text and its embedding are None in a bundle that encodes no texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str | None
    image_embedding: str
    text_embedding: str | None

    @classmethod
    def of(cls, text: str | None, image: FloatArray, text_vector: FloatArray | None) -> Self:
        """Packs the two answers, each float32[D]."""
        return cls(
            text=text,
            image_embedding=pack_vector(image),
            text_embedding=None if text_vector is None else pack_vector(text_vector),
        )

    def image_vector(self) -> FloatArray:
        """Returns the image tower's answer, float32[D]."""
        return unpack_vector(self.image_embedding)

    def text_vector(self) -> FloatArray | None:
        """Returns the text tower's answer, float32[D]; None without a text tower."""
        return None if self.text_embedding is None else unpack_vector(self.text_embedding)


def golden_pixels(spec: ImageSpec) -> UInt8:
    """Returns the image of the self-test, uint8[1, H, W]: a diagonal ramp of all gray levels."""
    rows, columns = np.indices((spec.height, spec.width))
    return ((rows * 3 + columns * 5) % 256).astype(np.uint8)[np.newaxis]


def pack_vector(vector: FloatArray) -> str:
    """Returns base64 of the little-endian bytes of a float32[D]."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def unpack_vector(packed: str) -> FloatArray:
    """Returns the float32[D] that `pack_vector` packed."""
    return np.frombuffer(base64.b64decode(packed), dtype="<f4").astype(np.float32)
