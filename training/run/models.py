"""Builds the model that a recipe names, at the start of a run or to load its weights into."""

from collections.abc import Callable, Sequence
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
    clip = from_config(model.name, _tokenizer(model, folder, reports))
    return clip.with_reducing_gap(model.reducing_gap)


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
    return clip.with_reducing_gap(model.reducing_gap)


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
