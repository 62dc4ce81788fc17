"""A recipe: everything that decides a training run, read from YAML."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
)

from service.bundle.preprocess import ReducingGap
from training.data.gaze import Sigma
from training.methods import METHODS

CONFIGS = Path(__file__).parent / "configs"


class RecipeError(ValueError):
    """A recipe or an override that names something that does not exist."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phantoms(_Strict):
    """Phantoms rendered for this run; every split has its own patients."""

    source: Literal["phantom"]
    train: PositiveInt
    validation: Annotated[int, Field(ge=0)]
    test: PositiveInt
    size: PositiveInt
    """Pixels a side before preprocessing."""
    seed: int
    contrast: PositiveFloat = 1.0
    """Multiplies the density of local findings."""
    cache: Path | None = None
    """Folder where several runs keep the phantoms they share; else each run keeps its own."""


def _whole(fractions: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError("train, validation and test must be non-negative and sum to 1")
    return fractions


Fractions = Annotated[tuple[float, float, float], AfterValidator(_whole)]


class Manifest(_Strict):
    """A studies.jsonl whose images lie beside it, split by patient."""

    source: Literal["manifest"]
    path: Path
    fractions: Fractions = (0.8, 0.0, 0.2)


def _known(method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"there are {', '.join(METHODS)}")
    return method


class Shards(_Strict):
    """Shards that `eclip-train shards` wrote for this recipe's input, split by patient."""

    source: Literal["shards"]
    path: Path
    fractions: Fractions = (0.8, 0.0, 0.2)


class Expert(_Strict):
    """The expert path: which studies, how many a step, and the processor's size."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the training studies with gaze, how many are experts; chosen by hash."""
    batch: PositiveInt = 16
    """Expert pairs of a step in which they join, all ranks together."""
    sigma: Sigma = Sigma(1.0, "degree")
    patch: PositiveInt = 16
    width: PositiveInt = 256
    heads: PositiveInt = 4
    residual: bool = False
    """Begin as the identity; else as published."""
    priming_weight: Annotated[float, Field(ge=0)] = 0.1
    attention_weight: PositiveFloat = 0.3
    """Of the divergence of the tower's attention from gaze, where the method guides it."""
    misplaced: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the experts whose gaze is another expert's: the doses of a dose-response."""
    primed_first: Annotated[int, Field(ge=0)] = 0
    """Steps in which the processor alone learns P(I, 1) = I before the run; published: none."""


class Recipe(_Strict):
    """One run of `eclip-train fit`."""

    name: str
    seed: Annotated[int, Field(ge=0)]
    model: str
    """A config of training/model/configs, with a tokenizer learned from the training reports; or a
    model as open_clip names it, with its own."""
    pretrained: str | None = None
    """Weights of an open_clip model: a tag or a checkpoint's path."""
    reducing_gap: ReducingGap | None = None
    """Shrink large images on their way to the model, here and where its bundle serves; see
    `service.bundle.preprocess.ImageSpec`."""
    start: Path | None = None
    """A finished run of the same model to begin with (post-tuning, eCLIP^P)."""
    data: Annotated[Phantoms | Manifest | Shards, Field(discriminator="source")]
    method: Annotated[str, AfterValidator(_known)] = "clip"
    """An arm of training/methods.py."""
    expert: Expert = Expert()
    augment: bool = False
    """Slightly cropped, turned and exposed anew at each step, heatmaps with their images."""
    epochs: PositiveInt
    batch_size: PositiveInt
    """Pairs of a step, all ranks together."""
    part: PositiveInt | None = None
    """Encode so many at a time, for batches that do not fit; the gradient is the whole batch's."""
    learning_rate: PositiveFloat
    weight_decay: float
    warmup: Annotated[float, Field(ge=0, lt=1)]
    """Share of all steps over which the learning rate rises linearly."""
    checkpoint_every: PositiveInt = 100
    """Steps between two checkpoints, at each of which the validation split is measured."""
    patience: PositiveInt | None = None
    """Stop after so many checkpoints without a better validation recall."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which then is what validation measures
    and the run gives."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    devices: PositiveInt = 1
    """Processes on each node; under torchrun, as many as it started."""
    nodes: PositiveInt = 1
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches, on each rank."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    checkpoint_gradients: bool = False
    compile: bool = False


def load_recipe(name_or_path: str, overrides: list[str]) -> Recipe:
    """Read a recipe by name or path and apply `key=value` overrides (`data.train=100`)."""
    path = Path(name_or_path)
    if not path.is_file():
        path = CONFIGS / f"{name_or_path}.yaml"
    if not path.is_file():
        raise RecipeError(f"no recipe {name_or_path!r}; there are {', '.join(recipe_names())}")
    recipe = Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    values = recipe.model_dump()
    for override in overrides:
        _apply(values, override)
    return Recipe.model_validate(values)


def recipe_names() -> list[str]:
    """The recipes that come with the project."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"{override!r} is not key=value")
    *parents, leaf = key.split(".")
    for parent in parents:
        _require(values, parent, key)
        values = values[parent]
    _require(values, leaf, key)
    try:
        values[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"{override!r} has a value that is not YAML") from None


def _require(values: Any, part: str, key: str) -> None:
    """Raise RecipeError, with the nearest name that exists, unless `values` has `part`."""
    if not isinstance(values, dict):
        raise RecipeError(f"unknown key {key!r}; there is nothing below a single value")
    if part not in values:
        nearest = difflib.get_close_matches(part, values, n=1, cutoff=0)
        raise RecipeError(f"unknown key {key!r}; the nearest to {part!r} is {nearest[0]!r}")
