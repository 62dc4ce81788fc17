"""Builds the model that a recipe names, at the start of a run or to load its weights into."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from service.bundle.manifest import TOKENIZER
from service.bundle.preprocess import ImageSpec
from service.bundle.tokenizer import Tokenizer
from service.files import written_atomically
from training.model.clip import (
    Clip,
    from_config,
    from_open_clip,
    image_spec,
    is_open_clip_model,
    is_own,
    text_config,
)
from training.model.pixels import Normalisation
from training.model.tokenizer import learn
from training.recipe import ModelSpec, RecipeError


def image_input(model: ModelSpec) -> ImageSpec:
    """Returns how the model takes its images. Builds a model of open_clip to find out."""
    if is_own(model.name):
        return image_spec(model.name).model_copy(update={"reducing_gap": model.reducing_gap})
    return open_clip_model(model).image


def own_model(model: ModelSpec, folder: Path, reports: Callable[[], Sequence[str]]) -> Clip:
    """Builds a model of training/model/configs with random weights.

    Its tokenizer is the one in the run's folder. If there is none yet, it is that of the run to
    start from, else it is learned from `reports`. Raises RecipeError if weights are named.
    """
    if model.pretrained is not None:
        raise RecipeError(
            f"{model.name} has no pretrained weights; remove model.pretrained, or give a run as "
            "model.start"
        )
    return _prepared(from_config(model.name, _tokenizer(model, folder, reports)), model)


def open_clip_model(model: ModelSpec) -> Clip:
    """Builds a model of open_clip. Raises RecipeError if open_clip has none of that name."""
    if not is_open_clip_model(model.name):
        raise RecipeError(
            f"no model {model.name!r}, neither in training/model/configs nor in open_clip"
        )
    try:
        clip = from_open_clip(model.name, model.pretrained)
    except RuntimeError as error:
        raise RecipeError(f"open_clip cannot load {model.name!r}: {error}") from error
    return _prepared(clip, model)


def _prepared(clip: Clip, model: ModelSpec) -> Clip:
    """Returns the model with its input prepared as the recipe says."""
    clip = clip.with_reducing_gap(model.reducing_gap)
    if model.pixels is None:
        return clip
    mean, std = model.pixels.mean, model.pixels.std
    return replace(clip, normalisation=Normalisation((mean, mean, mean), (std, std, std)))


def _tokenizer(model: ModelSpec, folder: Path, reports: Callable[[], Sequence[str]]) -> Tokenizer:
    config = text_config(model.name)
    path = folder / TOKENIZER
    if not path.exists():
        with written_atomically(path) as draft:
            if model.start is not None:
                draft.write_bytes((model.start / TOKENIZER).read_bytes())
            else:
                learn(reports(), config["vocab_size"], config["context_length"]).save(draft)
    return Tokenizer.load(path, config["context_length"])
