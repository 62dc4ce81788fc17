"""Adds the expert path to an open_clip model; without experts it is plain CLIP."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from training.model.attention import PoolingAttention
from training.model.clip import Clip
from training.model.heatmap import HeatmapProcessor
from training.model.pixels import NormalisePixels, in_channels

WHITE = 255.0
Encoded = TypeVar("Encoded", Tensor, tuple[Tensor, Tensor])


class ExpertCLIP(nn.Module):
    """The towers of `clip`, unchanged, and a heatmap processor or None.

    part: items encoded at a time, without keeping their activations: a batch of k parts needs the
    memory of one, and its gradient is that of the whole (after Gao et al. 2021, gradient cache).
    Towers with batch statistics see each part by itself.
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
        """Encodes pixels uint8 or float in 0…255, [N,H,W] or [N,3,H,W], as unit float[N,D]."""
        return _in_parts(self._images, pixels, self.part)

    def attended(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes as `images` does; also returns the log attention float[N,heads,G,G].

        Raises NoPoolingAttention if the tower does not pool by attention.
        """
        return _in_parts(self._attended, pixels, self.part)

    def texts(self, tokens: Tensor) -> Tensor:
        """Encodes tokens int64[N,L] as unit float[N,D]."""
        return _in_parts(self._texts, tokens, self.part)

    def compile_towers(self) -> None:
        """Encodes through torch.compile from now on."""
        self._images = torch.compile(self._images)  # type: ignore[method-assign]
        self._texts = torch.compile(self._texts)  # type: ignore[method-assign]

    def experts(self, pixels: Tensor, heatmaps: Tensor) -> Tensor:
        """Returns P(I, h) in pixels: uint8[N,H,W] and float[N,H,W] → float[N,H,W].

        The published processor's are float[N,3,H,W].
        """
        expert: Tensor = self._processor(self.processor_input(pixels), heatmaps)
        return self.normalise.inverse(expert) if self._processor.published else WHITE * expert

    def processor_input(self, pixels: Tensor) -> Tensor:
        """Returns pixels uint8[N,H,W] in the form of the processor's input (`HeatmapProcessor`)."""
        return self.normalise(pixels) if self._processor.published else pixels / WHITE

    @property
    def _processor(self) -> HeatmapProcessor:
        if self.processor is None:
            raise ValueError("this model was made without a heatmap processor")
        return self.processor

    def _images(self, pixels: Tensor) -> Tensor:
        return functional.normalize(self.model.encode_image(self.normalise(pixels)), dim=-1)

    def _attended(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        pooled, attention = PoolingAttention(self.model.visual)(self.normalise(pixels))
        return functional.normalize(pooled, dim=-1), attention

    def _texts(self, tokens: Tensor) -> Tensor:
        return functional.normalize(self.model.encode_text(tokens), dim=-1)


def mixup(pixels: Tensor, experts: Tensor, weight: Tensor) -> Tensor:
    """Returns λ·I + (1−λ)·P(I, h) for images [N,H,W] and weights λ float[N].

    experts: float[N,H,W], or float[N,3,H,W], of which form the answer is.
    Kumar & Marttinen 2024, section 3.
    """
    originals = in_channels(pixels) if experts.ndim == 4 else pixels
    of_original = weight.view(-1, *[1] * (experts.ndim - 1))
    return of_original * originals + (1 - of_original) * experts


def with_experts(pixels: Tensor, experts: Tensor) -> Tensor:
    """Returns images [B,H,W] and the experts after them, float[B+N,…] in the experts' form."""
    originals = in_channels(pixels) if experts.ndim == 4 else pixels
    return torch.cat([originals.float(), experts])


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
