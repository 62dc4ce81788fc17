"""A recipe: everything that decides a training run, read from YAML."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

CONFIGS = Path(__file__).parent / "configs"


class RecipeError(ValueError):
    """A recipe or an override that names something that does not exist."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phantoms(_Strict):
    """Phantoms rendered for this run; every split has its own patients."""

    source: Literal["phantom"]
    train: PositiveInt
    validation: PositiveInt
    test: PositiveInt
    size: PositiveInt
    """Pixels a side before preprocessing."""
    seed: int


class Manifest(_Strict):
    """A studies.jsonl whose images lie beside it, split by patient."""

    source: Literal["manifest"]
    path: Path
    fractions: tuple[float, float, float] = (0.8, 0.0, 0.2)


class Recipe(_Strict):
    """One run of `eclip-train fit`."""

    name: str
    seed: int
    model: str
    """A config of training/model/configs."""
    data: Annotated[Phantoms | Manifest, Field(discriminator="source")]
    epochs: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: float
    warmup: Annotated[float, Field(ge=0, lt=1)]
    """Share of all steps over which the learning rate rises linearly."""


def load_recipe(name_or_path: str, overrides: list[str]) -> Recipe:
    """Read a recipe by name or path and apply `key=value` overrides (`data.train=100`)."""
    path = Path(name_or_path)
    if not path.is_file():
        path = CONFIGS / f"{name_or_path}.yaml"
    if not path.is_file():
        raise RecipeError(f"no recipe {name_or_path!r}; there are {', '.join(recipe_names())}")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    values[leaf] = yaml.safe_load(text)


def _require(values: Any, part: str, key: str) -> None:
    """Raise RecipeError, with the nearest name that exists, unless `values` has `part`."""
    if not isinstance(values, dict):
        raise RecipeError(f"unknown key {key!r}; there is nothing below a single value")
    if part not in values:
        nearest = difflib.get_close_matches(part, values, n=1, cutoff=0)
        raise RecipeError(f"unknown key {key!r}; the nearest to {part!r} is {nearest[0]!r}")
