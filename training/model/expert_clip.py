"""Any open_clip model with the expert path beside it; without experts it is plain CLIP."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from training.model.attention import PoolingAttention
from training.model.clip import Clip
from training.model.heatmap import HeatmapProcessor
from training.model.pixels import NormalisePixels

WHITE = 255.0
Encoded = TypeVar("Encoded", Tensor, tuple[Tensor, Tensor])


class ExpertCLIP(nn.Module):
    """The towers of `clip`, unchanged, and a processor or None.

    part: encode so many items at a time and keep none of their activations: a batch of k parts
    costs the memory of one, and its gradient is that of the whole (after Gao et al. 2021, gradient
    cache). Towers with batch statistics see each part by itself.
    """

    def __init__(
        self, clip: Clip, processor: HeatmapProcessor | None = None, part: int | None = None
    ) -> None:
        super().__init__()
        self.model = clip.model
        self.normalise = NormalisePixels(clip.normalisation)
        self.processor = processor
        self.part = part

    def images(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 or float[N,H,W] in 0…255 → unit float[N,D]."""
        return _in_parts(self._images, pixels, self.part)

    def attended(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As `images`, with where the tower looked: log attention float[N,heads,G,G].

        Raises NoPoolingAttention where the tower does not pool by attention.
        """
        return _in_parts(self._attended, pixels, self.part)

    def texts(self, tokens: Tensor) -> Tensor:
        """Tokens int64[N,L] → unit float[N,D]."""
        return _in_parts(self._texts, tokens, self.part)

    def compile_towers(self) -> None:
        """Encode through torch.compile from now on."""
        self._images = torch.compile(self._images)  # type: ignore[method-assign]
        self._texts = torch.compile(self._texts)  # type: ignore[method-assign]

    def experts(self, pixels: Tensor, heatmaps: Tensor) -> Tensor:
        """P(I, h) in pixels: uint8[N,H,W] and float[N,H,W] → float[N,H,W]."""
        if self.processor is None:
            raise ValueError("this model was made without a heatmap processor")
        expert: Tensor = WHITE * self.processor(pixels / WHITE, heatmaps)
        return expert

    def _images(self, pixels: Tensor) -> Tensor:
        return functional.normalize(self.model.encode_image(self.normalise(pixels)), dim=-1)

    def _attended(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        pooled, attention = PoolingAttention(self.model.visual)(self.normalise(pixels))
        return functional.normalize(pooled, dim=-1), attention

    def _texts(self, tokens: Tensor) -> Tensor:
        return functional.normalize(self.model.encode_text(tokens), dim=-1)


def mixup(pixels: Tensor, experts: Tensor, share: Tensor) -> Tensor:
    """λ·I + (1−λ)·P(I, h) for images float[N,H,W] and λ float[N] (Kumar & Marttinen, section 3)."""
    weight = share.view(-1, 1, 1)
    return weight * pixels + (1 - weight) * experts


def _in_parts(encode: Callable[[Tensor], Encoded], items: Tensor, size: int | None) -> Encoded:
    if size is None or len(items) <= size or not torch.is_grad_enabled():
        return encode(items)
    parts = [checkpoint(encode, part, use_reentrant=False) for part in torch.split(items, size)]
    joined: Encoded = _joined(parts)
    return joined


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))
    return torch.cat(parts)
