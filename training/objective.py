"""Contrastive objectives, from open_clip."""

from open_clip.loss import ClipLoss
from torch import Tensor, nn


class Contrastive(nn.Module):
    """The symmetric InfoNCE loss of CLIP (Radford et al. 2021, section 2.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = ClipLoss()

    def forward(self, images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
        """Unit vectors float[N,D] of matching pairs, and the factor on cosines → scalar loss."""
        loss: Tensor = self.loss(images, texts, logit_scale)
        return loss
