import json

import pytest

from training.data.spec import ManifestData
from training.recipe import CONFIGS, RecipeError, load_recipe, read_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_project_is_valid(name):
    assert load_recipe(name, []).name == name


def test_overrides_take_the_type_of_what_they_override():
    changes = ["optimiser.epochs=3", "optimiser.learning_rate=1e-3", "data.train=100"]
    recipe = load_recipe("phantom-tiny", changes)
    optimiser = recipe.optimiser
    assert (optimiser.epochs, optimiser.learning_rate, recipe.data.train) == (3, 0.001, 100)
    assert type(optimiser.epochs) is int
    own = load_recipe("own-pairs", ["data.path=a/b.jsonl", "data.fractions=[0.5, 0.25, 0.25]"])
    assert isinstance(own.data, ManifestData)
    assert own.data.path.parts == ("a", "b.jsonl")
    assert own.data.fractions == (0.5, 0.25, 0.25)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("epochs=3", "'optimiser.epochs'"),
        ("optimiser.epoch=3", "'optimiser.epochs'"),
        ("learning-rate=3", "'optimiser.learning_rate'"),
        ("data.trian=3", "'data.train'"),
        ("dta.train=3", "'data.train'"),
        ("modle.name=x", "'model.name'"),
        ("zzz=3", "the nearest is"),
    ],
)
def test_an_unknown_key_names_the_nearest(override, nearest):
    with pytest.raises(RecipeError, match=f"unknown key .*{nearest}"):
        load_recipe("phantom-tiny", [override])


def test_a_key_below_a_single_value_is_refused():
    with pytest.raises(RecipeError, match="'first' would be inside a single value"):
        load_recipe("phantom-tiny", ["optimiser.epochs.first=3"])


def test_a_section_cannot_be_set_to_a_single_value():
    with pytest.raises(RecipeError, match=r"'model' is a section; set one of model\.name"):
        load_recipe("phantom-tiny", ["model=ViT-B-32"])


def test_an_override_without_a_value_is_refused():
    with pytest.raises(RecipeError, match="not key=value"):
        load_recipe("phantom-tiny", ["optimiser.epochs"])


@pytest.mark.parametrize(
    "override",
    ["optimiser.epochs=0", "optimiser.warmup=1", "data.train=many", "data.source=x", "seed=-1"],
)
def test_a_value_out_of_bounds_names_its_key(override):
    with pytest.raises(RecipeError, match=rf"^{override.split('=')[0].split('.')[0]}[.:]"):
        load_recipe("phantom-tiny", [override])


@pytest.mark.parametrize(
    "override", ["data.fractions=[0.8, 0.1, 0.2]", "method=eklip", "expert.share=0"]
)
def test_values_that_cannot_be_are_refused(override):
    with pytest.raises(RecipeError):
        load_recipe("own-pairs", [override])


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(RecipeError, match="there are biomedclip-finetune, own-pairs"):
        load_recipe("nothing", [])


def test_a_recipe_may_lie_anywhere_but_may_say_nothing_unknown(tmp_path):
    text = (CONFIGS / "phantom-tiny.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_recipe(str(path), []) == load_recipe("phantom-tiny", [])
    path.write_text(text + "momentum: 0.9\n")
    with pytest.raises(RecipeError, match="momentum: Extra inputs"):
        load_recipe(str(path), [])


def test_a_recipe_is_the_same_in_json(tmp_path):
    recipe = load_recipe("paper", ["optimiser.learning_rate=1e-12"])
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    assert read_recipe(tmp_path / "recipe.json") == recipe


FLAT = {"name": "old", "seed": 0, "model": "phantom-tiny", "data": {"source": "phantom"}}


@pytest.mark.parametrize("name", ["recipe.json", "recipe.yaml"])
def test_a_recipe_without_sections_says_where_its_keys_belong(tmp_path, name):
    (tmp_path / name).write_text(json.dumps(FLAT | {"epochs": 3, "batch_size": 16}))
    with pytest.raises(RecipeError, match=r"`epochs: 3` becomes `optimiser: \{epochs: 3\}`"):
        load_recipe(str(tmp_path / name), [])


@pytest.mark.parametrize(
    ("text", "complaint"), [("name: [", "cannot read"), ("- a list", "is not a recipe")]
)
def test_a_file_that_is_not_a_recipe_is_refused(tmp_path, text, complaint):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=complaint):
        load_recipe(str(tmp_path / "recipe.yaml"), [])


def test_a_value_that_is_not_yaml_is_refused():
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe("own-pairs", ["name=["])
