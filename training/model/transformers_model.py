"""Gives models of transformers the methods and numbers that open_clip's models have.

The vectors are those that the library defines: `get_image_features` and `get_text_features` of
CLIPModel, SiglipModel and VisionTextDualEncoderModel, the class token after the last norm of
Dinov2Model. ViTModel gives its pooler's answer if the checkpoint has a pooler, or else that token.
"""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from training.errors import TrainingError

WITH_TEXT: dict[str, Any] = {
    "clip": transformers.CLIPModel,
    "siglip": transformers.SiglipModel,
    "vision-text-dual-encoder": transformers.VisionTextDualEncoderModel,
}
"""Type of a config → its class, for models of images and texts."""
IMAGES_ALONE: dict[str, Any] = {"dinov2": transformers.Dinov2Model, "vit": transformers.ViTModel}
"""Type of a config → its class, for models of images."""
TAKEN = WITH_TEXT | IMAGES_ALONE


class UnsupportedModel(TrainingError, ValueError):
    """A model of transformers that cannot become a bundle; the message says why."""


class Visual(nn.Module):
    """images float[N,3,H,W] → the library's vectors float[N,D], not scaled to unit length.

    size: H and W.
    """

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Encodes one batch; see the class."""
        has_text = type(self.model) in WITH_TEXT.values()
        encode = self.model.get_image_features if has_text else self.model
        answer = encode(pixel_values=images)
        if not has_text and answer.pooler_output is None:
            token: Tensor = answer.last_hidden_state[:, 0]
            return token
        return _pooled(answer)


class TransformersModel(nn.Module):
    """A model of transformers with the methods and numbers that open_clip's models have.

    size: height and width of its images. pad_id: the token that the text tower is told to pass
    over; None if it is given no mask.
    """

    def __init__(self, model: Any, size: tuple[int, int], pad_id: int | None) -> None:
        super().__init__()
        self.visual = Visual(model, size)
        self.pad_id = pad_id
        self.logit_scale: Tensor = getattr(model, "logit_scale", torch.zeros(()))
        self.logit_bias: Tensor | None = getattr(model, "logit_bias", None)

    def encode_image(self, images: Tensor) -> Tensor:
        """Encodes float[N,3,H,W] as float[N,D]."""
        vectors: Tensor = self.visual(images)
        return vectors

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Encodes int64[N,L] as float[N,D]."""
        mask = None if self.pad_id is None else (tokens != self.pad_id).long()
        return _pooled(self.visual.model.get_text_features(input_ids=tokens, attention_mask=mask))


def _pooled(answer: Any) -> Tensor:
    pooled: Tensor | None = getattr(answer, "pooler_output", None)
    if pooled is None:
        raise UnsupportedModel("the model was published without its pooling layer")
    return pooled
