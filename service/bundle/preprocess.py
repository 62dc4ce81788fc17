"""Turns display pixels into the image tower's input. Training and service share this code.

Up to the normalisation, which is inside image.onnx, the result equals that of open_clip's
evaluation transform, or of transformers' processor with Pillow, for the grayscale image. So the
whole image is resized before it is cropped: Pillow's `box` is in float32, and cropping by it gives
other levels. The decoder limits how long a side is. A bundle with a reducing gap gives up that
equality for less work on large images.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_STRIP = 256
"""Rows of 16-bit pixels that are resized at a time."""
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Side = Annotated[int, Field(ge=16, le=4096)]
ReducingGap = Annotated[float, Field(ge=1, le=8)]
Spans = tuple[tuple[float, float], tuple[float, float]]
"""Start and end along the rows, then along the columns."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The image of which pixels are a smaller copy.

    rows, columns: of the image. spans: the fractions of the copy's height and width between which
    the image lies. A copy's last pixels may stand for fewer than the others, and a wavelet's lie
    on the first of those that they stand for, so they are not always 0 and 1.
    """

    rows: int
    columns: int
    spans: Spans


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A part of an image, in its pixels. It reaches outside the image where the input is padded."""

    left: float
    top: float
    width: float
    height: float


class ImageSpec(BaseModel):
    """How a radiograph is brought to the tower's input, `height` × `width` pixels.

    fit: `shortest` scales the shorter side and crops the centre, `longest` scales the longer side
    and pads with the gray level `fill`, `squash` ignores the aspect ratio.

    scaled: what the shorter side (`shortest`) or both sides (`squash`) are scaled to before the
    centre is cropped. Example: DINOv2 scales the shorter side to 256 and crops 224 × 224. None: to
    the input itself.

    odd_margin: where half a pixel of a crop's margin goes: `even` rounds it to an even number of
    pixels, as open_clip does, `down` rounds it down, as transformers does.

    reducing_gap (Pillow's term): first shrink, by whole factors, to no less than this many times
    the scaled size: JPEG, JPEG 2000 and HTJ2K while they are decoded, other images to the mean of
    each block. 2 is fast; from 3 on the result hardly differs. Without it every pixel is resampled,
    as open_clip does.

    scaled and odd_margin are left out where they are written with their default: shards and caches
    from before they came know their spec by how it was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Side
    width: Side
    fit: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    scaled: Annotated[Side | None, Field(exclude_if=lambda scaled: scaled is None)] = None
    odd_margin: Annotated[
        Literal["even", "down"], Field(exclude_if=lambda margin: margin == "even")
    ] = "even"
    reducing_gap: ReducingGap | None = None

    @model_validator(mode="after")
    def _check_scaled(self) -> Self:
        if self.scaled is not None:
            if self.fit == "longest":
                raise ValueError("scaled is for an image that is cropped, not for fit longest")
            if self.scaled < max(self.height, self.width):
                raise ValueError("scaled is at least as long as the sides of the input")
        return self


def preprocess(
    pixels: Pixels, spec: ImageSpec, whole: Whole | None = None
) -> npt.NDArray[np.uint8]:
    """Returns the tower's input, uint8[height, width].

    pixels: display values [rows, columns] over the dtype's whole range. whole: where they are a
    smaller copy, the image that they come from.
    """
    rows, columns = pixels.shape
    whole = whole or Whole(rows, columns, spans=((0, 1), (0, 1)))
    resize = _resize if pixels.dtype == np.uint8 else _resize_deep
    resized = resize(pixels, spec, whole)
    levels = np.asarray(_centre(resized, spec))
    if levels.dtype != np.uint8:
        levels = np.rint(np.clip(levels, 0, 65535) / 257).astype(np.uint8)
    return levels


def scaled_size(size: tuple[int, int], spec: ImageSpec) -> tuple[int, int]:
    """Returns (width, height) of an image after scaling, before it is cropped or padded.

    The longer side is truncated where the shorter one has a given length, as torchvision's Resize
    does: for a square crop, or if `scaled` says it. Otherwise both sides are rounded. Example:
    300 × 200 to 64 × 64 is (96, 64) for `shortest`.
    """
    if spec.fit == "squash":
        return spec.scaled or spec.width, spec.scaled or spec.height
    width, height = size
    if spec.fit == "shortest" and (spec.scaled is not None or spec.width == spec.height):
        short, side = min(size), spec.scaled or spec.width
        return side * width // short, side * height // short
    ratios = (width / spec.width, height / spec.height)
    ratio = min(ratios) if spec.fit == "shortest" else max(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def shown_part(size: tuple[int, int], spec: ImageSpec, grid: tuple[int, int] = (1, 1)) -> Rectangle:
    """Returns what the tower's input shows of an image of (width, height).

    grid: rows and columns of patches. What is left below and to the right of them, because it is
    smaller than a patch, does not belong to the part. Example: of 320 × 160 the input of 64 × 64
    shows (80, 0, 160, 160) for `shortest` and (0, -80, 320, 320) for `longest`.
    """
    scaled = scaled_size(size, spec)
    (left, width), (top, height) = (
        (-_offset(small, shown, spec) * whole / small, (shown - shown % patches) * whole / small)
        for whole, small, shown, patches in zip(
            size, scaled, (spec.width, spec.height), reversed(grid), strict=True
        )
    )
    return Rectangle(left, top, width, height)


def shrink_factor(size: tuple[int, int], spec: ImageSpec, side: int = 1) -> float:
    """Returns by how much an image of (width, height) may be shrunk before it is preprocessed.

    side: pixels that its longer side must keep. The factor is 1 without a reducing gap. Example:
    1024 × 1024 to 64 × 64 with a gap of 2 gives 8; if 512 must be kept, 2.
    """
    if spec.reducing_gap is None:
        return 1
    ratios = (side / scaled for side, scaled in zip(size, scaled_size(size, spec), strict=True))
    return max(1, min(min(ratios) / spec.reducing_gap, max(size) / side))


def _resize(pixels: npt.NDArray[Any], spec: ImageSpec, whole: Whole) -> Image.Image:
    pixels, box = _placed(pixels, whole)
    size = scaled_size((whole.columns, whole.rows), spec)
    return Image.fromarray(pixels).resize(
        size, _RESAMPLING[spec.interpolation], box, reducing_gap=spec.reducing_gap
    )


def _resize_deep(pixels: npt.NDArray[Any], spec: ImageSpec, whole: Whole) -> Image.Image:
    """Resizes uint16 as Pillow resizes the whole image in float32, at a tenth of the memory.

    Shrinking by whole factors, and then the width, are done strip by strip. Pillow scales the
    height of some images first, which differs in the last bit of a float32.
    """
    pixels, (left, top, right, bottom) = _placed(pixels, whole)
    width, height = scaled_size((whole.columns, whole.rows), spec)
    resampling = _RESAMPLING[spec.interpolation]
    across, down = (
        1 if spec.reducing_gap is None else int((end - start) / scaled / spec.reducing_gap) or 1
        for start, end, scaled in ((left, right, width), (top, bottom, height))
    )
    strips = []
    for first in range(0, pixels.shape[0], _STRIP * down):
        strip = Image.fromarray(pixels[first : first + _STRIP * down].astype(np.float32))
        strip = strip.reduce((across, down)) if across * down > 1 else strip
        box = (left / across, 0, right / across, strip.height)
        strips.append(strip.resize((width, strip.height), resampling, box))
    narrow = Image.fromarray(np.concatenate([np.asarray(strip) for strip in strips]))
    return narrow.resize((width, height), resampling, (0, top / down, width, bottom / down))


def _placed(
    pixels: npt.NDArray[Any], whole: Whole
) -> tuple[npt.NDArray[Any], tuple[float, float, float, float]]:
    """Returns where the image lies in its pixels: left, top, right and bottom.

    Where it ends after them, its last row and column are repeated.
    """
    (top, bottom), (left, right) = (
        (start * side, end * side)
        for (start, end), side in zip(whole.spans, pixels.shape, strict=True)
    )
    if bottom > pixels.shape[0] or right > pixels.shape[1]:
        pixels = np.pad(pixels, (0, 1), "edge")
    return pixels, (left, top, right, bottom)


def _centre(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """Crops or pads around the centre."""
    fill = spec.fill if image.mode == "L" else spec.fill * 257
    canvas = Image.new(image.mode, (spec.width, spec.height), fill)
    left, top = (_offset(image.size[axis], canvas.size[axis], spec) for axis in (0, 1))
    canvas.paste(image, (left, top))
    return canvas


def _offset(size: int, target: int, spec: ImageSpec) -> int:
    """Returns where the scaled image begins in the input; negative where it is cropped."""
    if target > size:
        return (target - size) // 2
    margin = (size - target) / 2
    return -(round(margin) if spec.odd_margin == "even" else int(margin))
