"""Turns model pixels into the normalised image that open_clip's towers take."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, on the scale 0…1."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)


class NormalisePixels(nn.Module):
    """pixels [N,H,W], or [N,3,H,W], in 0…255 → images float32[N,3,H,W]."""

    scale: Tensor
    shift: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        mean = torch.tensor(normalisation.mean).view(1, -1, 1, 1)
        std = torch.tensor(normalisation.std).view(1, -1, 1, 1)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scales, replicates the channel if there is one, and normalises."""
        channels = pixels if pixels.ndim == 4 else pixels.unsqueeze(1)
        channels = channels.to(self.scale.dtype).expand(-1, 3, -1, -1)
        return channels * self.scale + self.shift

    def inverse(self, images: Tensor) -> Tensor:
        """Returns the pixels float[N,3,H,W] in 0…255 that would give the images float[N,3,H,W]."""
        return (images - self.shift) / self.scale


def in_channels(pixels: Tensor) -> Tensor:
    """Returns pixels [N,H,W] as [N,3,H,W], and those in three channels as they are."""
    return pixels if pixels.ndim == 4 else pixels.unsqueeze(1).expand(-1, 3, -1, -1)
