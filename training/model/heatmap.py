"""The heatmap processor: a radiograph and where its reader looked → the expert image.

Kumar & Marttinen 2024 (arXiv 2403.10153), section 3: patches of the image and of the image under
the heatmap share one embedding; attention asks with the latter and answers with the former; a
transposed convolution turns the answer back into pixels. Each patch also has a learned place,
without which attention could not tell two alike patches apart.
"""

import torch
from torch import Tensor, nn


class HeatmapProcessor(nn.Module):
    """P(I, h): levels float[N,H,W] in 0…1 and heatmaps float[N,H,W] → expert levels float[N,H,W].

    residual: the answer is added to the image through a decoder that begins at zero, so that an
    untrained processor is exactly the identity. Otherwise the answer is all there is, as published.
    Raises ValueError when the patches do not tile the image or the heads do not divide the width.
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
        """See the class; row i of the answer depends on row i of the inputs alone."""
        image = self._tokens(levels)
        looked = self._tokens(normalised(heatmaps) * levels)
        seen, _ = self.attention(looked, image, image, need_weights=False)
        tokens = self.project(seen).transpose(1, 2).unflatten(2, self.grid)
        answer: Tensor = self.decode(tokens).squeeze(1)
        return levels + answer if self.residual else answer

    def _tokens(self, levels: Tensor) -> Tensor:
        """float[N,H,W] → float[N,patches,width]."""
        tokens: Tensor = self.embed(levels.unsqueeze(1)).flatten(2).transpose(1, 2) + self.place
        return tokens


def normalised(heatmaps: Tensor) -> Tensor:
    """Each map of float[N,H,W] over its own maximum; a map of zeros stays one."""
    peak = heatmaps.amax(dim=(1, 2), keepdim=True)
    return heatmaps / torch.where(peak > 0, peak, torch.ones_like(peak))
