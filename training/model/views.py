"""Changes expert images by their heatmaps, and mixes them with the originals."""

from collections.abc import Callable

from torch import Tensor

from training.model.expert_clip import ExpertCLIP, mixup
from training.model.heatmap import normalised

View = Callable[[ExpertCLIP, Tensor, Tensor], Tensor]
"""(model, pixels uint8[N,H,W], heatmaps float[N,H,W]) → pixels float[N,H,W] or float[N,3,H,W]."""
HARD_LEVEL = 0.2
"""Fraction of a heatmap's peak: below it, a hard mask blackens the image."""


def processed(model: ExpertCLIP, pixels: Tensor, heatmaps: Tensor) -> Tensor:
    """Returns P(I, h), the heatmap processor's image."""
    return model.experts(pixels, heatmaps)


def masked(_: ExpertCLIP, pixels: Tensor, heatmaps: Tensor) -> Tensor:
    """Returns the image where the reader looked, black elsewhere."""
    return pixels * (normalised(heatmaps) >= HARD_LEVEL)


def untouched(_: ExpertCLIP, pixels: Tensor, __: Tensor) -> Tensor:
    """Returns the image itself."""
    return pixels.float()


def neighbour(_: ExpertCLIP, pixels: Tensor, __: Tensor) -> Tensor:
    """Returns another image of the batch (Verma et al. 2021, DACL)."""
    return pixels.roll(1, dims=0).float()


VIEWS: dict[str, View] = {
    "processed": processed,
    "masked": masked,
    "untouched": untouched,
    "neighbour": neighbour,
}


def expert_pixels(
    view: str, model: ExpertCLIP, pixels: Tensor, heatmaps: Tensor, weight: Tensor
) -> Tensor:
    """Returns the expert images: the originals mixed with a view of them, and of its form.

    pixels: uint8[N,H,W]; heatmaps: float[N,H,W]; weight: λ of the original, float[N].
    """
    return mixup(pixels, VIEWS[view](model, pixels, heatmaps), weight)
