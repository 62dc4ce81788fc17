"""Defines the heatmap processor: a radiograph and its heatmap → the expert image.

Kumar & Marttinen 2024 (arXiv 2403.10153), section 3: patches of the image and of the image under
the heatmap share one embedding. In the attention, the latter are the queries, the former keys and
values. A transposed convolution turns the answer into pixels.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn


class HeatmapProcessor(nn.Module):
    """P(I, h): images and heatmaps float[N,H,W] → expert images, of the images' form.

    published: images are normalised channels float[N,3,H,W], and the largest value of the batch,
    over all processes, scales all its heatmaps. False: images are levels float[N,H,W] in 0…1, each
    heatmap is scaled by itself, and each patch has a learned position, without which attention
    could not distinguish two equal patches.
    residual: add the answer to the image, through a decoder that begins at zero, so that an
    untrained processor is exactly the identity. False: return the answer alone, as published.
    Raises ValueError if the patches do not tile the image or the heads do not divide the width.
    """

    place: nn.Parameter | None

    def __init__(
        self,
        size: tuple[int, int],
        *,
        patch: int = 16,
        width: int = 256,
        heads: int = 4,
        residual: bool = False,
        published: bool = False,
    ) -> None:
        super().__init__()
        rows, columns = size[0] // patch, size[1] // patch
        if (rows * patch, columns * patch) != size:
            raise ValueError(f"patches of {patch} pixels do not tile an image of {size} pixels")
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.residual, self.published = residual, published
        channels = 3 if published else 1
        self.embed = nn.Conv2d(channels, width, patch, patch)
        places = None if published else nn.Parameter(0.5 * torch.randn(1, rows * columns, width))
        self.register_parameter("place", places)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.project = nn.Linear(width, width)
        self.decode = nn.ConvTranspose2d(width, channels, patch, patch)
        self.grid = (rows, columns)
        if residual:
            for parameter in self.decode.parameters():
                nn.init.zeros_(parameter)

    def forward(self, images: Tensor, heatmaps: Tensor) -> Tensor:
        """Returns P(I, h). Unless published, row i depends on row i of the inputs alone."""
        channels = images if self.published else images.unsqueeze(1)
        scaled = over_the_batch(heatmaps) if self.published else normalised(heatmaps)
        image = self._tokens(channels)
        looked = self._tokens(scaled.unsqueeze(1) * channels)
        seen, _ = self.attention(looked, image, image, need_weights=False)
        tokens = self.project(seen).transpose(1, 2).unflatten(2, self.grid)
        answer: Tensor = self.decode(tokens)
        expert = channels + answer if self.residual else answer
        return expert if self.published else expert.squeeze(1)

    def _tokens(self, channels: Tensor) -> Tensor:
        """Embeds float[N,C,H,W] as float[N,patches,width]."""
        tokens: Tensor = self.embed(channels).flatten(2).transpose(1, 2)
        return tokens if self.place is None else tokens + self.place


def normalised(heatmaps: Tensor) -> Tensor:
    """Divides each map of float[N,H,W] by its own maximum; a map of zeros stays as it is."""
    return _over(heatmaps.amax(dim=(1, 2), keepdim=True), heatmaps)


def over_the_batch(heatmaps: Tensor) -> Tensor:
    """Divides float[N,H,W] by the largest value of the batch, which all processes share."""
    peak = heatmaps.amax()
    if dist.is_initialized():
        dist.all_reduce(peak, dist.ReduceOp.MAX)
    return _over(peak, heatmaps)


def _over(peak: Tensor, heatmaps: Tensor) -> Tensor:
    return heatmaps / torch.where(peak > 0, peak, torch.ones_like(peak))
