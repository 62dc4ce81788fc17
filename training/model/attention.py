"""Reads where an image tower looks when it pools its patches into one vector.

This is the attention of the last layer's class token, or of an attention pooler, over the patches.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.model.pooling import Inputs, pooler


class Look(NamedTuple):
    """What is read in one pass: the tower's answer, and the inputs of its pooling attention.

    end: float[N,C], the pooled token before the norm and projections after it.
    """

    pooled: Tensor
    inputs: Inputs
    end: Tensor


class PoolingAttention:
    """A reader of one tower; raises NoPoolingAttention if the tower cannot be read.

    The tower is not changed: it has a hook only while it runs.
    """

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.pooler = pooler(visual)
        self.grid = self.pooler.grid

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the tower's float[N,D] and log attention float[N,heads,G,G] of float[N,3,H,W].

        The log attention is normalised over the patches of each head.
        """
        look = self.look(images)
        return look.pooled, self.log_attention(look)

    def log_attention(self, look: Look) -> Tensor:
        """Returns float[N,heads,G,G], normalised over the patches of each head."""
        patches = self.grid[0] * self.grid[1]
        logits = self.pooler.logits(look.inputs)[..., -patches:].log_softmax(dim=-1)
        return logits.view(*logits.shape[:2], *self.grid)

    def look(self, images: Tensor) -> Look:
        """Encodes float[N,3,H,W], and keeps what the pooling read."""
        seen: list[Inputs] = []
        ends: list[Tensor] = []
        hooks = (
            self.pooler.module.register_forward_pre_hook(
                lambda _, inputs, named: seen.append(inputs or (named["hidden_states"],)),
                with_kwargs=True,
            ),
            self.pooler.end.register_forward_hook(lambda _, __, answer: ends.append(answer)),
        )
        try:
            pooled: Tensor = self.visual(images)
        finally:
            for hook in hooks:
                hook.remove()
        end = ends[-1]
        return Look(pooled, seen[-1], end if end.ndim == 2 else end[:, 0])


def attention_loss(log_attention: Tensor, heatmaps: Tensor) -> Tensor:
    """Returns the divergence of attention float[N,heads,G,G] from gaze float[N,H,W], a scalar.

    KL(gaze ‖ attention), with the gaze summed over each patch: 0 if every head looks as the reader
    did. A sample without gaze adds nothing.
    """
    rows, columns = log_attention.shape[-2:]
    gaze = functional.adaptive_avg_pool2d(heatmaps.unsqueeze(1), (rows, columns))
    total = gaze.sum(dim=(2, 3), keepdim=True)
    share = gaze / torch.where(total > 0, total, torch.ones_like(total))
    heads = log_attention.shape[1]
    divergence = functional.kl_div(
        log_attention, share.expand_as(log_attention), reduction="batchmean"
    )
    return divergence / heads
