"""The type of what a compressed frame's own header says."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a compressed frame says of itself.

    depth: bits of a sample. levels: how often both sides can be halved while it is decoded. rgb:
    whether its codec turns its colours into RGB by itself.
    """

    codec: str
    rows: int
    columns: int
    samples: int
    depth: int
    signed: bool = False
    levels: int = 0
    rgb: bool = False

    def shape(self, level: int) -> tuple[int, ...]:
        """Returns the shape of the words after so many halvings, which round up."""
        sides = -(-self.rows // 2**level), -(-self.columns // 2**level)
        return sides if self.samples == 1 else (*sides, self.samples)

    def words_bytes(self, level: int) -> int:
        """Returns the size of those words."""
        return math.prod(self.shape(level)) * self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type of a sample."""
        size = 1 if self.depth <= 8 else 2 if self.depth <= 16 else 4
        return np.dtype(f"{'i' if self.signed else 'u'}{size}")
