"""The two towers as they are exported and evaluated: raw inputs → unit vectors."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from service.bundle.maps import PatchKind
from training.model.clip import Clip
from training.model.patches import patch_tokens
from training.model.pixels import NormalisePixels


class ImageTower(nn.Module):
    """pixels uint8[N,H,W] → embedding float32[N,D] and, for ViTs, patches float32[N,G,G,D].

    Patches are the tower's last tokens, through the tower's own projection, at unit length.
    """

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.model = clip.model
        self.patches = patch_tokens(clip.model.visual)
        self.outputs = ("embedding",) if self.patches is None else ("embedding", "patches")
        self.patch_kind: PatchKind | None = None if self.patches is None else "last_token"
        self.normalise = NormalisePixels(clip.normalisation)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Encodes one batch of images; see the class."""
        images = self.normalise(pixels)
        if self.patches is None:
            return (_unit(self.model.encode_image(images)),)
        pooled, patches = self.patches(images)
        return _unit(pooled), _unit(patches)


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
