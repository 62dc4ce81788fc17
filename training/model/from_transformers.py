"""Loads models in transformers' published layout, with what export needs to know about them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from service.arrays import UInt8
from service.bundle.tokenizer import Tokenizer
from training.model.clip import Clip, without_folder
from training.model.processor import prove, read_processor
from training.model.tokenizer import PROBES
from training.model.tokenizer import from_transformers as convert_tokenizer
from training.model.transformers_model import (
    IMAGES_ALONE,
    TAKEN,
    TransformersModel,
    UnsupportedModel,
)

PREFIX = "transformers:"
UNUSED = "embeddings.mask_token"
"""A weight of DINOv2 and ViT that only their training uses; some checkpoints lack it."""

log = logging.getLogger(__name__)


def from_transformers(name: str, radiographs: Sequence[UInt8]) -> Clip:
    """Loads a model by the path of its folder, or, with a network, by its name on the hub.

    radiographs: uint8[rows, columns] of several shapes, on which the model's own processor is
    compared with the bundle's preprocessing.

    Raises UnsupportedModel, UnsupportedProcessor or TokenizerMismatch, which say what a bundle
    cannot keep; OSError if there is no such model.
    """
    model, facts = _load(name)
    processors = [
        _open(transformers.AutoImageProcessor, name, backend=backend) for backend in (None, "pil")
    ]
    image, normalisation = read_processor(processors[0])
    prove(processors, image, normalisation, radiographs)
    tokenizer, context_length, pad_id = _text_side(name, model.config)
    clip = Clip(
        model=TransformersModel(model, (image.height, image.width), pad_id).eval(),
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
    config = _open(transformers.AutoConfig, name)
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
    try:
        with _quiet_library():
            model, info = TAKEN[config.model_type].from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except (RuntimeError, SafetensorError) as error:
        raise UnsupportedModel(
            f"transformers cannot read the weights; download them again: {error}"
        ) from error
    for key, found, expected in sorted(info["mismatched_keys"]):
        raise UnsupportedModel(
            f"the checkpoint's {key} is {_shape(found)}, and config.json says {_shape(expected)}; "
            "export it with the config.json that it was saved with"
        )
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(UNUSED))
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


def _shape(sides: Sequence[int]) -> str:
    return "×".join(map(str, sides))


def _text_side(name: str, config: Any) -> tuple[Tokenizer | None, int | None, int | None]:
    """Returns the tokenizer, its context length, and the token that its mask leaves out.

    SigLIP was trained to read its padding. CLIP's text tower reads no token after the one that it
    pools. So neither is given a mask.
    """
    if config.model_type in IMAGES_ALONE:
        return None, None, None
    tokenizer = _open(transformers.AutoTokenizer, name)
    if config.model_type == "siglip" and isinstance(tokenizer, transformers.GemmaTokenizer):
        log.warning(
            "SigLIP 2 was trained on lower-case texts, and GemmaTokenizer keeps capitals. Set "
            "tokenizer_class to Siglip2Tokenizer in tokenizer_config.json, and export again"
        )
    text = config.text_config
    context_length = min(tokenizer.model_max_length, text.max_position_embeddings)
    if unknown := sorted(t for t, at in tokenizer.get_vocab().items() if at >= text.vocab_size):
        raise UnsupportedModel(
            f"the tokenizer gives {len(unknown)} tokens of which the text tower has no vector; the "
            f"first is {unknown[0]!r}. Export the tokenizer that the model was trained with"
        )
    converted = convert_tokenizer(tokenizer, context_length)
    if config.model_type == "siglip" or text.model_type == "clip_text_model":
        return converted, context_length, None
    if tokenizer.pad_token_id in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        raise UnsupportedModel(
            f"the text tower needs a mask, and {tokenizer.pad_token!r} both pads a text and ends "
            "it; export a model whose tokenizer has a pad_token of its own"
        )
    return converted, context_length, tokenizer.pad_token_id


def _open(kind: Any, name: str, **options: Any) -> Any:
    """Opens a part of a model with one of transformers' Auto classes, and runs no code of it."""
    try:
        return kind.from_pretrained(name, trust_remote_code=False, **options)
    except ValueError as error:
        raise UnsupportedModel(
            f"transformers does not know this model's part for {kind.__name__}; export one that "
            f"needs no code of its own: {error}"
        ) from error


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Hides transformers' table of missing weights, of which `_load` says what matters."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)


@torch.no_grad()
def _try_out(clip: Clip) -> None:
    """Encodes once, so that what does not fit together is said before anything is traced."""
    try:
        clip.model.encode_image(torch.zeros(1, 3, clip.image.height, clip.image.width))
        if clip.tokenizer is not None:
            clip.model.encode_text(torch.from_numpy(clip.tokenizer(PROBES).ids))
    except UnsupportedModel:
        raise
    except (AttributeError, IndexError, RuntimeError, ValueError) as error:
        raise UnsupportedModel(
            f"the model does not fit its preprocessor_config.json ({clip.image.height}×"
            f"{clip.image.width} pixels) or its tokenizer ({clip.context_length} tokens): {error}"
        ) from error
