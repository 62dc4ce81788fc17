"""Defines the losses: open_clip's contrastive loss over all ranks, and the priming loss."""

from typing import Any

import torch
import torch.distributed as dist
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor, nn
from torch.nn import functional


class Contrastive(nn.Module):
    """The loss that a model was made for, with every rank's pairs as negatives.

    alone: this process's pairs only, for those that each process has whole.

    Softmax (Radford et al. 2021, section 2.3), or the pairwise sigmoid (Zhai et al. 2023, section
    3) if the model has a logit bias. Each rank's value is the mean over its own pairs, so the mean
    over ranks, and that of their gradients, equals the value of one process.
    """

    def __init__(self, model: Any, *, alone: bool = False) -> None:
        super().__init__()
        ranks = {} if alone else {"rank": rank(), "world_size": world_size()}
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


def priming_loss(processor: nn.Module, images: Tensor) -> Tensor:
    """Returns the mean squared error of P(I, 1) to I, for images in the processor's form.

    Kumar & Marttinen 2024, section 3.
    """
    ones = images.new_ones(len(images), *images.shape[-2:])
    return functional.mse_loss(processor(images, ones), images)


def rank() -> int:
    """Returns the number of this process among those that train together."""
    return dist.get_rank() if dist.is_initialized() else 0


def gathered(pixels: Tensor) -> Tensor:
    """Returns the images of all ranks in the order of `Plan.rows`, from this rank's [B,H,W]."""
    if world_size() == 1:
        return pixels
    parts = [torch.empty_like(pixels) for _ in range(world_size())]
    dist.all_gather(parts, pixels.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


def world_size() -> int:
    """Returns how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1
