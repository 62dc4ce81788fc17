"""Loads models of transformers from its published layout, with what export needs to know of them.

The vectors are those that the library defines: `get_image_features` and `get_text_features` of
CLIPModel, SiglipModel and VisionTextDualEncoderModel, the class token after the last norm of
Dinov2Model. ViTModel gives its pooler's answer if the checkpoint has a pooler, or else that token.
"""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from service.arrays import UInt8
from service.bundle.tokenizer import Tokenizer
from training.errors import TrainingError
from training.model.clip import Clip, without_folder
from training.model.processor import prove, read_processor
from training.model.tokenizer import PROBES
from training.model.tokenizer import from_transformers as convert_tokenizer

PREFIX = "transformers:"
WITH_TEXT = {
    "clip": transformers.CLIPModel,
    "siglip": transformers.SiglipModel,
    "vision-text-dual-encoder": transformers.VisionTextDualEncoderModel,
}
"""Type of a config → its class, for models of images and texts."""
IMAGES_ALONE = {"dinov2": transformers.Dinov2Model, "vit": transformers.ViTModel}
"""Type of a config → its class, for models of images."""
TAKEN = WITH_TEXT | IMAGES_ALONE
CAUSAL = ("clip", "clip_text_model")
"""Text towers that read no token after the one that they pool, so that they need no mask."""
WITHOUT_MASK = ("siglip", "siglip_text_model", *CAUSAL)
"""Text towers that are given no mask. SigLIP was trained to read its padding."""

log = logging.getLogger(__name__)


class UnsupportedModel(TrainingError, ValueError):
    """A model of transformers that cannot become a bundle; the message says why."""


class Visual(nn.Module):
    """images float[N,3,H,W] → the library's vectors float[N,D], not scaled to unit length."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

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

    pad_id: the token that the text tower is told to pass over; None if it is given no mask.
    """

    def __init__(self, model: Any, pad_id: int | None) -> None:
        super().__init__()
        self.visual = Visual(model)
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


def from_transformers(name: str, radiographs: Sequence[UInt8]) -> Clip:
    """Loads a model by the path of its folder, or, with a network, by its name on the hub.

    radiographs: uint8[rows, columns] of several shapes, on which the model's own processor is
    compared with the bundle's preprocessing.

    Raises UnsupportedModel, UnsupportedProcessor or TokenizerMismatch, which say what a bundle
    cannot keep; OSError if there is no such model.
    """
    model, facts = _load(name)
    processors = [
        transformers.AutoImageProcessor.from_pretrained(name, backend=backend)
        for backend in (None, "pil")
    ]
    image, normalisation = read_processor(processors[0])
    prove(processors, image, normalisation, radiographs)
    tokenizer, context_length, pad_id = _text_side(name, model.config)
    clip = Clip(
        model=TransformersModel(model, pad_id).eval(),
        tokenizer=tokenizer,
        context_length=context_length,
        image=image,
        normalisation=normalisation,
        provenance={
            "transformers_model": without_folder(name),
            "transformers_class": type(model).__name__,
            **facts,
            "transformers": version("transformers"),
        },
    )
    _try_out(clip)
    return clip


def _load(name: str) -> tuple[Any, dict[str, str]]:
    """Returns the model in float32 and, if it has a choice, how it pools."""
    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except ValueError as error:
        raise UnsupportedModel(f"transformers does not know this model: {error}") from error
    if config.model_type == "siglip2":
        raise UnsupportedModel(
            "Siglip2Model is NaFlex: the grid of its patches follows each image's shape, and a "
            "bundle's images have one size. Export a SigLIP 2 of a fixed resolution, such as "
            "siglip2-base-patch16-224, which is a SiglipModel"
        )
    if config.model_type not in TAKEN:
        raise UnsupportedModel(
            f"a model of type {config.model_type!r} cannot be exported; a bundle is made from "
            f"{', '.join(kind.__name__ for kind in TAKEN.values())}"
        )
    model, info = TAKEN[config.model_type].from_pretrained(
        name, dtype=torch.float32, output_loading_info=True
    )
    missing = sorted(info["missing_keys"])
    facts = {}
    if config.model_type == "vit":
        if missing and all(key.startswith("pooler.") for key in missing):
            model.pooler, missing = None, []
        facts["image_vector"] = "class token" if model.pooler is None else "pooler"
    if missing:
        raise UnsupportedModel(
            f"the checkpoint lacks {len(missing)} weights of {type(model).__name__}, which "
            f"transformers would draw at random; the first is {missing[0]}. Export a checkpoint "
            "that was saved from this class"
        )
    return model, facts


def _text_side(name: str, config: Any) -> tuple[Tokenizer | None, int | None, int | None]:
    """Returns the tokenizer, its context length, and the token that its mask leaves out."""
    if config.model_type in IMAGES_ALONE:
        return None, None, None
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    if config.model_type == "siglip" and isinstance(tokenizer, transformers.GemmaTokenizer):
        log.warning(
            "SigLIP 2 was trained on lower-case texts, and GemmaTokenizer keeps capitals. Set "
            "tokenizer_class to Siglip2Tokenizer in tokenizer_config.json, and export again"
        )
    text = config.text_config
    context_length = min(tokenizer.model_max_length, text.max_position_embeddings)
    converted = convert_tokenizer(tokenizer, context_length)
    if text.model_type in WITHOUT_MASK:
        return converted, context_length, None
    if tokenizer.pad_token_id in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        raise UnsupportedModel(
            f"the text tower needs a mask, and {tokenizer.pad_token!r} both pads a text and ends "
            "it; export a model whose tokenizer has a pad_token of its own"
        )
    return converted, context_length, tokenizer.pad_token_id


@torch.no_grad()
def _try_out(clip: Clip) -> None:
    """Encodes once, so that what does not fit together is said before anything is traced."""
    try:
        clip.model.encode_image(torch.zeros(1, 3, clip.image.height, clip.image.width))
        if clip.tokenizer is not None:
            clip.model.encode_text(torch.from_numpy(clip.tokenizer(PROBES).ids))
    except (AttributeError, IndexError, RuntimeError, ValueError) as error:
        raise UnsupportedModel(
            f"the model does not fit its preprocessor_config.json ({clip.image.height}×"
            f"{clip.image.width} pixels) or its tokenizer ({clip.context_length} tokens): {error}"
        ) from error


def _pooled(answer: Any) -> Tensor:
    pooled: Tensor | None = getattr(answer, "pooler_output", None)
    if pooled is None:
        raise UnsupportedModel("the model was published without its pooling layer")
    return pooled
