"""Display pixels → model input. The only implementation: training and serving share it.

Matches open_clip's evaluation transform on the grayscale image, up to the normalisation,
which lives inside image.onnx. So it resizes the whole image before it crops: Pillow's `box` is in
float32, and cropping by it gives other levels. The decoder bounds how long a side can be.
A bundle that declares a reducing gap trades that equality for less work on large images.
"""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
Side = Annotated[int, Field(ge=16, le=4096)]
ReducingGap = Annotated[float, Field(ge=1, le=8)]


class ImageSpec(BaseModel):
    """How a radiograph is brought to the tower's input size.

    fit: `shortest` scales the shorter side and crops the centre, `longest` scales the longer side
    and pads with `fill`, `squash` ignores the aspect ratio.

    reducing_gap (Pillow's term): first shrink, by whole factors, to no less than so many times the
    size that is wanted: a JPEG while it is decoded, others to the mean of each block. 2 is fast,
    and from 3 on hardly another image. Without one every pixel is resampled, as open_clip does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: Side
    width: Side
    fit: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    reducing_gap: ReducingGap | None = None


def preprocess(
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], spec: ImageSpec
) -> npt.NDArray[np.uint8]:
    """Display values over the dtype's whole range, [rows, columns] → uint8[height, width]."""
    image = _resize(_as_image(pixels), spec)
    levels = np.asarray(image)
    if levels.dtype != np.uint8:
        levels = np.rint(np.clip(levels, 0, 65535) / 257).astype(np.uint8)
    return levels


def scaled_size(size: tuple[int, int], spec: ImageSpec) -> tuple[int, int]:
    """(width, height) of an image once scaled, before the crop or the padding.

    Square crops truncate the longer side, as torchvision's Resize does; else both sides round.
    """
    if spec.fit == "squash":
        return spec.width, spec.height
    width, height = size
    if spec.fit == "shortest" and spec.width == spec.height:
        short = min(size)
        return spec.width * width // short, spec.width * height // short
    ratios = (width / spec.width, height / spec.height)
    ratio = min(ratios) if spec.fit == "shortest" else max(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def spare(size: tuple[int, int], spec: ImageSpec) -> float:
    """By how much an image of (width, height) may be shrunk before it is preprocessed; 1: not."""
    if spec.reducing_gap is None:
        return 1
    ratios = (side / scaled for side, scaled in zip(size, scaled_size(size, spec), strict=True))
    return max(1, min(ratios) / spec.reducing_gap)


def _as_image(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Image.Image:
    if pixels.dtype == np.uint8:
        return Image.fromarray(pixels)
    return Image.fromarray(pixels.astype(np.float32))


def _resize(image: Image.Image, spec: ImageSpec) -> Image.Image:
    resized = image.resize(
        scaled_size(image.size, spec),
        _RESAMPLING[spec.interpolation],
        reducing_gap=spec.reducing_gap,
    )
    fill = spec.fill if image.mode == "L" else spec.fill * 257
    return _centre(resized, (spec.width, spec.height), fill)


def _centre(image: Image.Image, target: tuple[int, int], fill: int) -> Image.Image:
    """Crop or pad around the centre, with open_clip's rounding of odd margins."""
    canvas = Image.new(image.mode, target, fill)
    left, top = (_offset(image.size[axis], target[axis]) for axis in (0, 1))
    canvas.paste(image, (left, top))
    return canvas


def _offset(size: int, target: int) -> int:
    return (target - size) // 2 if target > size else -round((size - target) / 2)
