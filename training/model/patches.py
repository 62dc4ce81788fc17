"""Reads an image tower twice in one pass: its pooled embedding, and patches in the same space.

A patch embedding is the tower's last token there, through the tower's own norm and projection.
"""

import copy
from typing import Any

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

Grid = tuple[int, int]


def patch_tokens(visual: Any) -> "PatchTokens | None":
    """Returns a reader of `visual`, or None if its patches do not lie in the joint space.

    Those of convolutional towers and of attention pooling do not.
    """
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        return OpenClipPatches(visual)
    if isinstance(visual, TimmModel) and _is_plain_vit(visual.trunk):
        return TimmPatches(visual)
    return None


class PatchTokens(nn.Module):
    """images float32[N,3,H,W] → pooled float32[N,D] and patches float32[N,G,G,D]."""

    grid: Grid


class OpenClipPatches(PatchTokens):
    """open_clip's own VisionTransformer."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = copy.copy(visual)
        self.visual.output_tokens = True
        self.grid = tuple(visual.grid_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class."""
        pooled, tokens = self.visual(images)
        if self.visual.final_ln_after_pool:
            tokens = self.visual.ln_post(tokens)
        if self.visual.proj is not None:
            tokens = tokens @ self.visual.proj
        return pooled, tokens.reshape(-1, *self.grid, tokens.shape[-1])


class TimmPatches(PatchTokens):
    """A timm vision transformer under open_clip's projection, such as BiomedCLIP's."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.trunk, self.head = visual.trunk, visual.head
        self.grid = tuple(visual.trunk.patch_embed.grid_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class."""
        features = self.trunk.forward_features(images)
        pooled = self.head(self.trunk.forward_head(features))
        tokens = features[:, self.trunk.num_prefix_tokens :]
        tokens = self.head(self.trunk.head(self.trunk.fc_norm(tokens)))
        return pooled, tokens.reshape(-1, *self.grid, tokens.shape[-1])


def _is_plain_vit(trunk: Any) -> bool:
    """Returns whether it is a transformer of one resolution that pools by class token or mean."""
    return hasattr(trunk, "fc_norm") and getattr(trunk, "global_pool", "") in ("token", "avg")
