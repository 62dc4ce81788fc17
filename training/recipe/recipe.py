"""Defines the recipe, everything that decides a training run, and reads it from a file."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError

from training.data.spec import DATA_KINDS, DataSpec, FrozenSpec, PairData
from training.errors import USAGE_FAULT, TrainingError
from training.recipe.methods import METHODS
from training.recipe.sections import ExpertSpec, ModelSpec, OptimiserSpec, RunSpec

CONFIGS = Path(__file__).parents[1] / "configs"
"""Folder of the recipes that come with the project."""
SECTIONS = ("data", "model", "expert", "optimiser", "run")
OPTIONAL = "pixels"
"""The section, inside `model`, that may be null."""


class RecipeError(TrainingError, ValueError):
    """A recipe, or an override of it, that cannot be run."""

    exit_status = USAGE_FAULT


def _known(method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"there are {', '.join(METHODS)}")
    return method


class Recipe(FrozenSpec):
    """One run of `eclip-train fit`."""

    name: str
    seed: Annotated[int, Field(ge=0)]
    method: Annotated[str, AfterValidator(_known)] = "clip"
    """A name in training/recipe/methods.py."""
    data: DataSpec
    model: ModelSpec
    expert: ExpertSpec = ExpertSpec()
    optimiser: OptimiserSpec
    run: RunSpec = RunSpec()


def load_recipe(name_or_path: str, overrides: list[str]) -> Recipe:
    """Reads a recipe by name or path and applies overrides, such as `optimiser.epochs=3`.

    The section may be left out where one alone has the key: `epochs=3`.
    Raises RecipeError if there is no such recipe, key or value.
    """
    path = Path(name_or_path)
    if not path.is_file():
        path = CONFIGS / f"{name_or_path}.yaml"
    if not path.is_file():
        raise RecipeError(f"no recipe {name_or_path!r}; there are {', '.join(recipe_names())}")
    values = read_recipe(path).model_dump()
    for override in overrides:
        _apply(values, override)
    return _validated(values)


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe from a YAML or JSON file.

    Raises RecipeError, with what to do, for the form without sections that earlier versions wrote.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot read {path} as YAML or JSON: {error}") from error
    if not isinstance(values, Mapping):
        raise RecipeError(f"{path} is not a recipe; begin with a copy of one in training/configs")
    if isinstance(values.get("model"), str):
        raise RecipeError(
            f"{path} has the form without sections that earlier versions used. Move each key into "
            f"its section ({', '.join(SECTIONS)}), as training/configs/phantom-tiny.yaml shows: "
            "`epochs: 3` becomes `optimiser: {epochs: 3}`, `model: X` becomes `model: {name: X}`"
        )
    return _validated(values)


def recipe_names() -> list[str]:
    """Returns the recipes that come with the project."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _validated(values: Mapping[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError("; ".join(wrong)) from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"{override!r} is not key=value")
    *parents, leaf = _with_section(key, values).split(".")
    place: Any = values
    for part in (*parents, leaf):
        if not isinstance(place, dict):
            raise RecipeError(
                f"unknown key {key!r}; {part!r} would be inside a single value, or in a section "
                "that has to be set whole"
            )
        if part not in place:
            raise _unknown(key, values)
        section, place = place, place[part]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"{override!r} has a value that is not YAML") from None
    unset = value is None and leaf == OPTIONAL
    if isinstance(place, dict) and not isinstance(value, dict) and not unset:
        raise RecipeError(
            f"{key!r} is a section; set a key of it, such as {key}.{next(iter(place))}"
        )
    section[leaf] = _whole_data(value, place) if key == "data" else value


def _whole_data(value: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Fills a `data` section that was given whole, perhaps of another kind than the one before.

    What all kinds have is kept from before; the rest gets the defaults of its kind.
    """
    fields = DATA_KINDS.get(str(value.get("source")), PairData).model_fields
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    common = {name: before[name] for name in PairData.model_fields}
    return {**defaults, **common, **value}


def _with_section(key: str, values: Mapping[str, Any]) -> str:
    """Returns a key with its section, if it has none and one section alone has it.

    Example: `epochs` → `optimiser.epochs`. Raises RecipeError if several have it.
    """
    if "." in key or key in values:
        return key
    places = [each for each in _keys(values) if _last(each) == key]
    if len(places) > 1:
        raise RecipeError(f"{key!r} is a key of several sections; set one of {', '.join(places)}")
    direct = [each for each in places if each.count(".") == 1]
    return direct[0] if direct else key


def _unknown(key: str, values: Mapping[str, Any]) -> RecipeError:
    section, _, name = key.rpartition(".")
    kinds = [kind for kind, spec in DATA_KINDS.items() if name in spec.model_fields]
    if kinds and section in ("", "data"):
        return RecipeError(
            f"{key!r} is a key of {' and '.join(kinds)} data alone; to change the kind of data, "
            'write the section whole, as in "data={source: manifest, path: FILE}"'
        )
    return RecipeError(f"unknown key {key!r}; the nearest is {_nearest(key, values)!r}")


def _nearest(key: str, values: Mapping[str, Any]) -> str:
    """Returns the existing key whose last part is most like that of `key`, else most like it all.

    Example: `epoch` → `optimiser.epochs`, `dta.train` → `data.train`.
    """
    keys = sorted(_keys(values), key=lambda each: -_likeness(each, key))
    return max(keys, key=lambda each: _likeness(_last(each), _last(key)))


def _keys(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{name}.")


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
