"""The two towers as they are exported and evaluated: raw inputs → unit vectors."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from service.bundle.maps import PatchKind
from training.model.clip import Clip
from training.model.patches import reader
from training.model.pixels import NormalisePixels


class ImageTower(nn.Module):
    """pixels uint8[N,H,W] → embedding float32[N,D] and the tower's maps, as `outputs` names them.

    attention: float32[N,G,G], where the tower looks when it pools, which sums to 1. patches:
    float32[N,G,G,D], what each patch adds to the embedding, so that its product with a text is
    what the patch adds to the cosine; none without a text tower.
    """

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.model = clip.model
        self.normalise = NormalisePixels(clip.normalisation)
        self.reader = reader(clip.model.visual)
        self.patch_kind: PatchKind | None = None
        if self.reader is not None and clip.tokenizer is not None:
            self.patch_kind = self.reader.kind
        has_attention = self.reader is not None and self.reader.has_attention
        has = {"embedding": True, "attention": has_attention, "patches": self.patch_kind}
        self.outputs = tuple(name for name in has if has[name])

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encodes one batch of images; see the class."""
        images = self.normalise(pixels)
        if self.reader is None:
            return (_unit(self.model.encode_image(images)),)
        pooled, attention, patches = self.reader(images)
        if patches is not None:
            patches = patches / pooled.norm(dim=-1)[:, None, None, None]
        answers = (_unit(pooled), attention, patches if self.patch_kind else None)
        return tuple(answer for answer in answers if answer is not None)


class TextTower(nn.Module):
    """tokens int64[N,L] → embedding float32[N,D]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Encodes one batch of texts; see the class."""
        return _unit(self.model.encode_text(tokens))


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1)
