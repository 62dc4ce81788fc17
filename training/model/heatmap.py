"""Defines the heatmap processor: a radiograph and its heatmap → the expert image.

Kumar & Marttinen 2024 (arXiv 2403.10153), section 3: patches of the image and of the image under
the heatmap share one embedding. In the attention, the latter are the queries, the former keys and
values. A transposed convolution turns the answer into pixels. Each patch has a learned position,
without which attention could not distinguish two equal patches.
"""

import torch
from torch import Tensor, nn


class HeatmapProcessor(nn.Module):
    """P(I, h): levels float[N,H,W] in 0…1 and heatmaps float[N,H,W] → expert levels float[N,H,W].

    residual: add the answer to the image, through a decoder that begins at zero, so that an
    untrained processor is exactly the identity. False: return the answer alone, as published.
    Raises ValueError if the patches do not tile the image or the heads do not divide the width.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        patch: int = 16,
        width: int = 256,
        heads: int = 4,
        residual: bool = False,
    ) -> None:
        super().__init__()
        rows, columns = size[0] // patch, size[1] // patch
        if (rows * patch, columns * patch) != size:
            raise ValueError(f"patches of {patch} pixels do not tile an image of {size} pixels")
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.residual = residual
        self.embed = nn.Conv2d(1, width, patch, patch)
        self.place = nn.Parameter(0.5 * torch.randn(1, rows * columns, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.project = nn.Linear(width, width)
        self.decode = nn.ConvTranspose2d(width, 1, patch, patch)
        self.grid = (rows, columns)
        if residual:
            for parameter in self.decode.parameters():
                nn.init.zeros_(parameter)

    def forward(self, levels: Tensor, heatmaps: Tensor) -> Tensor:
        """Returns P(I, h). Row i of the answer depends on row i of the inputs alone."""
        image = self._tokens(levels)
        looked = self._tokens(normalised(heatmaps) * levels)
        seen, _ = self.attention(looked, image, image, need_weights=False)
        tokens = self.project(seen).transpose(1, 2).unflatten(2, self.grid)
        answer: Tensor = self.decode(tokens).squeeze(1)
        return levels + answer if self.residual else answer

    def _tokens(self, levels: Tensor) -> Tensor:
        """Embeds float[N,H,W] as float[N,patches,width]."""
        tokens: Tensor = self.embed(levels.unsqueeze(1)).flatten(2).transpose(1, 2) + self.place
        return tokens


def normalised(heatmaps: Tensor) -> Tensor:
    """Divides each map of float[N,H,W] by its own maximum; a map of zeros stays as it is."""
    peak = heatmaps.amax(dim=(1, 2), keepdim=True)
    return heatmaps / torch.where(peak > 0, peak, torch.ones_like(peak))
