"""The type of a decoded, de-identified radiograph, and of what is known of it without pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.arrays import UInt8
from service.bundle.preprocess import ImageSpec, Whole, preprocess

Format = Literal["dicom", "jpeg", "png"]
Pixels = UInt8 | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Window:
    """The range of stored values that was mapped onto black…white, and where it came from."""

    low: float
    high: float
    source: Literal["voi-lut", "window", "stored-range", "value-range"]


@dataclass(frozen=True, slots=True)
class Extent:
    """The values of pixels that were not windowed, and how the file itself shows them.

    low, high: the values of the darkest and the brightest pixel, or the other way round where
    `inverted` is true. window: the values that the file shows from black to white. curve: where
    that is no straight line, the grays 0…1 of even steps from the darkest to the brightest pixel.
    """

    low: float
    high: float
    window: Window
    curve: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """Distances of rows and of columns in mm, to measure with.

    at: `calibrated` where the file says that they were corrected to the patient; `detector` where
    they are those on the detector, on which the patient's parts are enlarged; `unstated` where the
    file does not say which.
    """

    spacing_mm: tuple[float, float]
    at: Literal["calibrated", "detector", "unstated"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to doubt that an image is an upright chest radiograph, in words for the caller.

    refuses: whether neither findings nor reports may be made of it: "always", "alone" where no
    other view of its study is free of such doubts, or "never".
    """

    text: str
    refuses: Literal["always", "alone", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiographFacts:
    """What is known of one frontal or lateral view, without its pixels."""

    format: Format
    rows: int
    """Rows of the stored image, turned upright and in square pixels."""
    columns: int
    """Columns of the stored image, turned upright and in square pixels."""
    window: Window
    inverted: bool = False
    """Whether the stored polarity was bright = air (MONOCHROME1) and has been turned over."""
    view: str | None = None
    """PA, AP, LATERAL, LATERAL DECUBITUS or OBLIQUE, if the file says so."""
    names_chest: bool = False
    """Whether the file's header says that it shows a chest."""
    spacing_mm: tuple[float, float] | None = None
    """Row and column spacing on the detector in mm, if the file has it."""
    scale: Scale | None = None
    """What to measure with, if the file has it."""
    laterality: Literal["R", "L", "B"] | None = None
    """Which side of the patient the image shows (B: both), if the file says so."""
    directions: tuple[str, str] | None = None
    """To where rows run in the patient, and columns: of L, R, A, P, H and F, if the file says."""
    padded: bool = False
    """Whether pixels outside of the exposed image were marked in the file and became black."""
    corrections: tuple[str, ...] = ()
    """What was read otherwise than the file says, or chosen of several windows: a sentence each."""
    provenance: dict[str, str] = field(default_factory=dict)
    """The allow-listed, de-identified DICOM elements (see `service.imaging.deidentify`)."""
    doubts: tuple[Doubt, ...] = ()
    """What speaks against an upright chest radiograph."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The doubts in words."""
        return tuple(doubt.text for doubt in self.doubts)

    def doubted(self, doubts: Sequence[Doubt]) -> Self:
        """Returns the same with these doubts added."""
        return replace(self, doubts=(*self.doubts, *doubts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph(RadiographFacts):
    """One decoded view. Code behind the decoder sees this type and never the file's format.

    pixels: uint8[H, W] or uint16[H, W], display values over the dtype's whole range,
    bright = dense, read-only. H and W are smaller than `rows` and `columns` if the image was
    shrunk while it was decoded, or `reduced`. whole: of an image that was shrunk, where the
    stored one lies in its pixels. extent: of an image that was not windowed, what its pixels hold.
    """

    pixels: Pixels
    whole: Whole | None = None
    extent: Extent | None = None

    @property
    def facts(self) -> RadiographFacts:
        """The same radiograph without its pixels."""
        names = [each.name for each in fields(RadiographFacts)]
        return RadiographFacts(**{name: getattr(self, name) for name in names})

    def prepared(self, spec: ImageSpec) -> UInt8:
        """Returns the tower's input, uint8[height, width]."""
        return preprocess(self.pixels, spec, self.whole)

    def reduced(self, side: int) -> "Radiograph":
        """Returns the radiograph with 8-bit pixels, at most `side` of them on the longer side."""
        image = Image.fromarray(high_bytes(self.pixels))
        image.thumbnail((side, side))
        return replace(self, pixels=np.asarray(image), whole=None)


def high_bytes(pixels: Pixels) -> UInt8:
    """Returns display values of 8 bits: `pixels >> 8` of uint16, without a copy of 16 bits."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    octets = np.ascontiguousarray(pixels, "<u2").view(np.uint8)
    return np.ascontiguousarray(octets[:, 1::2])
