"""Reads where an image tower looks when it pools its patches into one vector.

This is the attention of the last layer's class token, or of an attention pooler, over the patches.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn
from torch.nn import functional

Grid = tuple[int, int]


class NoPoolingAttention(ValueError):
    """The tower does not pool a grid of patches by attention."""


class PoolingAttention:
    """A reader of one tower; raises NoPoolingAttention if the tower cannot be read.

    The tower is not changed: it has a hook only while it runs.
    """

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.grid, self._module, self._logits = _pooling(visual)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the tower's float[N,D] and log attention float[N,heads,G,G] of float[N,3,H,W].

        The log attention is normalised over the patches of each head.
        """
        seen: list[tuple[Any, ...]] = []
        hook = self._module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
        try:
            pooled: Tensor = self.visual(images)
        finally:
            hook.remove()
        patches = self.grid[0] * self.grid[1]
        attention = self._logits(self._module, seen[-1])[..., -patches:].log_softmax(dim=-1)
        return pooled, attention.view(*attention.shape[:2], *self.grid)


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


Logits = Callable[[Any, tuple[Any, ...]], Tensor]


def _pooling(visual: Any) -> tuple[Grid, nn.Module, Logits]:
    """Returns the grid of patches, the attention that pools them, and what gives its logits."""
    if _is_open_clip_vit(visual):
        last = visual.transformer.resblocks[-1] if visual.attn_pool is None else visual.attn_pool
        return tuple(visual.grid_size), last.attn, _of_multihead
    if isinstance(visual, TimmModel) and _is_timm_vit(visual.trunk):
        trunk = visual.trunk
        return tuple(trunk.patch_embed.grid_size), trunk.blocks[-1].attn, _of_timm
    raise NoPoolingAttention(
        "this image tower does not pool its patches by attention; gaze can guide the pooling of a "
        "vision transformer with a class token or an attention pooler, without dropped patches"
    )


def _is_open_clip_vit(visual: Any) -> bool:
    """Returns whether the tower gives one vector an image and keeps every patch in its place."""
    return (
        isinstance(visual, VisionTransformer)
        and visual.pool_type == "tok"
        and not visual.output_tokens
        and isinstance(visual.patch_dropout, nn.Identity)
    )


def _is_timm_vit(trunk: Any) -> bool:
    """Returns whether it is timm's plain ViT; others rotate or bias the keys."""
    return (
        isinstance(trunk, TimmViT)
        and trunk.global_pool == "token"
        and isinstance(trunk.patch_drop, nn.Identity)
        and type(trunk.blocks[-1].attn) is Attention
    )


def _of_multihead(module: Any, inputs: tuple[Any, ...]) -> Tensor:
    query, keys, _ = inputs
    if module.in_proj_weight is None:
        weights = (module.q_proj_weight, module.k_proj_weight)
    else:
        weights = module.in_proj_weight.chunk(3)[:2]
    biases = module.in_proj_bias.chunk(3)[:2]
    q, k = (
        _by_head(functional.linear(tokens, weight, bias), module.num_heads)
        for tokens, weight, bias in zip((query[:, :1], keys), weights, biases, strict=True)
    )
    return _scaled(q, k)


def _of_timm(module: Any, inputs: tuple[Any, ...]) -> Tensor:
    q, k, _ = (_by_head(tokens, module.num_heads) for tokens in module.qkv(inputs[0]).chunk(3, -1))
    return _scaled(module.q_norm(q[:, :, :1]), module.k_norm(k))


def _by_head(tokens: Tensor, heads: int) -> Tensor:
    """Splits float[N,L,heads·d] into float[N,heads,L,d]."""
    return tokens.view(*tokens.shape[:2], heads, -1).transpose(1, 2)


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    """Returns the logits float[N,heads,keys] of float[N,heads,1,d] and float[N,heads,keys,d]."""
    return (q @ k.transpose(-1, -2)).squeeze(2) / math.sqrt(q.shape[-1])
