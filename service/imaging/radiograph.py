"""The one image type of the house: a decoded, de-identified radiograph."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Format = Literal["dicom", "jpeg", "png"]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Window:
    """The range of stored values that was mapped onto black…white, and where it came from."""

    low: float
    high: float
    source: Literal["voi-lut", "window", "stored-range", "value-range"]


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One frontal or lateral view after decoding; nothing downstream sees the file format.

    pixels: uint8[H,W] or uint16[H,W], display values over the dtype's whole range,
    bright = dense, read-only. `rows` and `columns` are the stored image's own, though the pixels
    may have been shrunk while decoding, or `reduced`.
    """

    pixels: Pixels
    rows: int
    columns: int
    format: Format
    window: Window
    inverted: bool = False
    """The stored polarity was bright = air (MONOCHROME1) and has been turned over."""
    view: str | None = None
    """DICOM ViewPosition (PA, AP, LL …) where the file says so."""
    spacing_mm: tuple[float, float] | None = None
    """Row and column spacing on the detector in mm."""
    provenance: dict[str, str] = field(default_factory=dict)
    """The allow-listed, de-identified tags (see `service.imaging.deidentify`)."""

    def reduced(self, side: int) -> "Radiograph":
        """The same facts with 8-bit pixels, at most `side` on the longer side; none at 0."""
        if side == 0:
            return replace(self, pixels=np.empty((0, 0), np.uint8))
        levels = self.pixels if self.pixels.dtype == np.uint8 else self.pixels >> 8
        image = Image.fromarray(levels.astype(np.uint8, copy=False))
        image.thumbnail((side, side))
        return replace(self, pixels=np.asarray(image))
