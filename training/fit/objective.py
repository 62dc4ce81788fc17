"""Defines the losses: open_clip's contrastive loss over all ranks, and the priming loss."""

from typing import Any

import torch
import torch.distributed as dist
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor, nn
from torch.nn import functional


class Contrastive(nn.Module):
    """The loss that a model was made for, with every rank's pairs as negatives.

    Softmax (Radford et al. 2021, section 2.3), or the pairwise sigmoid (Zhai et al. 2023, section
    3) if the model has a logit bias. Each rank's value is the mean over its own pairs, so the mean
    over ranks, and that of their gradients, equals the value of one process.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        ranks = {"rank": rank(), "world_size": world_size()}
        self.sigmoid = getattr(model, "logit_bias", None) is not None
        self.loss = (
            SigLipLoss(**ranks, dist_impl="gather")
            if self.sigmoid
            else ClipLoss(**ranks, local_loss=True, gather_with_grad=True)
        )

    def forward(self, images: Tensor, texts: Tensor, model: Any) -> Tensor:
        """Returns the loss, a scalar, of matching pairs: unit float[N,D] of images and of texts."""
        scale = model.logit_scale.exp()
        bias = (model.logit_bias,) if self.sigmoid else ()
        loss: Tensor = self.loss(images, texts, scale, *bias)
        return loss


def priming_loss(processor: nn.Module, levels: Tensor) -> Tensor:
    """Returns the mean squared error of P(I, 1) to I, for levels float[N,H,W].

    Kumar & Marttinen 2024, section 3.
    """
    return functional.mse_loss(processor(levels, torch.ones_like(levels)), levels)


def rank() -> int:
    """Returns the number of this process among those that train together."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Returns how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1
