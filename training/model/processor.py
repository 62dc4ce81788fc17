"""Reads a processor of transformers as a bundle's preprocessing, and proves that both agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError

from service.arrays import UInt8
from service.bundle.preprocess import ImageSpec, preprocess
from training.errors import TrainingError
from training.model.pixels import Normalisation, NormalisePixels

INTERPOLATION = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
EQUAL = 0.01
"""Gray levels by which any pixel of transformers' Pillow backend may differ, for float32."""
LARGEST, MEAN = 4.0, 0.5
"""Gray levels by which a pixel of its torchvision backend, and the mean pixel, may differ.

torchvision and Pillow may scale the two sides in another order and round in between. On phantoms
of 6 shapes, scaled to 64 … 518 pixels, they differed by at most 3 levels, and by 0.23 in the mean.
A crop that is off by one pixel differs by more than 4.
"""


class UnsupportedProcessor(TrainingError, ValueError):
    """A bundle cannot prepare images as this processor does; the message names the setting."""


def read_processor(processor: Any) -> tuple[ImageSpec, Normalisation]:
    """Returns the settings of a processor of transformers; raises UnsupportedProcessor.

    A rescale factor other than 1/255 becomes part of the normalisation.
    """
    _require(processor, "do_resize", True, "a bundle scales every image")
    _require(processor, "do_rescale", True, "a bundle scales gray levels to 0…1")
    _require(processor, "do_pad", False, "a bundle pads around the image, not below it")
    if processor.resample not in INTERPOLATION:
        raise _unsupported(
            "resample", processor.resample, "a bundle has 2 (bilinear) and 3 (cubic)"
        )
    factor = 255 * processor.rescale_factor
    given = (processor.image_mean, processor.image_std) if processor.do_normalize else (0.0, 1.0)
    mean, std = (
        _channels(setting, values, factor)
        for setting, values in zip(("image_mean", "image_std"), given, strict=True)
    )
    try:
        spec = ImageSpec(
            **_size(processor),
            interpolation=INTERPOLATION[processor.resample],
            odd_margin="down",
        )
    except ValidationError as error:
        raise _unsupported("size", dict(processor.size), error.errors()[0]["msg"]) from error
    return spec, Normalisation(mean, std)


def prove(
    processors: Sequence[Any],
    spec: ImageSpec,
    normalisation: Normalisation,
    radiographs: Sequence[UInt8],
) -> None:
    """Compares the tower's input with that of each processor; raises UnsupportedProcessor.

    radiographs: uint8[rows, columns] each. A processor with Pillow must give the same numbers, one
    with torchvision nearly the same: see `LARGEST`.
    """
    normalise = NormalisePixels(normalisation)
    for processor in processors:
        largest, mean = (EQUAL, EQUAL) if processor.backend == "pil" else (LARGEST, MEAN)
        for radiograph in radiographs:
            picture = Image.fromarray(radiograph).convert("RGB")
            theirs = processor(picture, return_tensors="pt")["pixel_values"]
            ours = normalise(torch.tensor(preprocess(radiograph, spec))[None])
            shape = "×".join(map(str, radiograph.shape))
            if theirs.shape != ours.shape:
                raise UnsupportedProcessor(
                    f"{type(processor).__name__} makes {tuple(theirs.shape)} of an image of "
                    f"{shape} pixels, and a bundle {tuple(ours.shape)}; export a model whose "
                    "images have one size and three channels"
                )
            gap = ((theirs - ours) / normalise.scale).abs()
            if not (gap.max() <= largest and gap.mean() <= mean):
                raise UnsupportedProcessor(
                    f"{type(processor).__name__} and a bundle prepare an image of {shape} pixels "
                    f"differently, by up to {gap.max():.2f} gray levels ({gap.mean():.2f} in the "
                    f"mean; {largest:g} and {mean:g} are allowed): the processor does what its "
                    "settings do not say. Export a model with another processor"
                )


def _size(processor: Any) -> dict[str, Any]:
    """Returns the fields of an ImageSpec that say how the image is scaled and cropped."""
    size = _given(processor.size)
    crop = _given(processor.crop_size) if processor.do_center_crop else None
    if set(size) == {"shortest_edge"}:
        if crop is None:
            raise _unsupported("do_center_crop", False, "a bundle's images all have one size")
        scaled = (size["shortest_edge"],) * 2
        fit = "shortest"
    elif set(size) == {"height", "width"}:
        scaled = (size["height"], size["width"])
        fit = "squash"
    else:
        raise _unsupported("size", size, "a bundle takes `shortest_edge`, or `height` and `width`")
    shown = scaled if crop is None else (crop["height"], crop["width"])
    if scaled == shown:
        return {"fit": fit, "height": shown[0], "width": shown[1]}
    if scaled[0] != scaled[1]:
        raise _unsupported("size", size, "a bundle crops the centre of a square, or of the image")
    if scaled[0] < max(shown):
        raise _unsupported(
            "crop_size", crop, "it exceeds `size`, and transformers' two backends pad differently"
        )
    return {"fit": fit, "scaled": scaled[0], "height": shown[0], "width": shown[1]}


def _given(size: Any) -> Mapping[str, int]:
    return {name: pixels for name, pixels in dict(size or {}).items() if pixels}


def _channels(setting: str, values: Any, factor: float) -> tuple[float, float, float]:
    if np.shape(values) not in ((), (3,)):
        raise _unsupported(setting, values, "a bundle's images have three channels")
    first, second, third = np.broadcast_to(np.asarray(values, float) / factor, 3).tolist()
    return first, second, third


def _require(processor: Any, setting: str, value: bool, why: str) -> None:
    found = bool(getattr(processor, setting, None))
    if found is not value:
        raise _unsupported(setting, found, why)


def _unsupported(setting: str, value: Any, why: str) -> UnsupportedProcessor:
    return UnsupportedProcessor(
        f"a bundle cannot keep the processor's setting {setting}={value!r}: {why}. Export a model "
        "with another preprocessor_config.json"
    )
