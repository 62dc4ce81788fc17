import pytest
from pydantic import ValidationError

from training.recipe import CONFIGS, Manifest, RecipeError, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_project_is_valid(name):
    assert load_recipe(name, []).name == name


def test_overrides_take_the_type_of_what_they_override():
    recipe = load_recipe("phantom-tiny", ["epochs=3", "learning_rate=1e-3", "data.train=100"])
    assert (recipe.epochs, recipe.learning_rate, recipe.data.train) == (3, 0.001, 100)
    assert type(recipe.epochs) is int
    own = load_recipe("own-pairs", ["data.path=a/b.jsonl", "data.fractions=[0.5, 0.25, 0.25]"])
    assert isinstance(own.data, Manifest)
    assert own.data.path.parts == ("a", "b.jsonl")
    assert own.data.fractions == (0.5, 0.25, 0.25)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("epoch=3", "'epochs'"),
        ("learning-rate=3", "'learning_rate'"),
        ("data.trian=3", "'train'"),
        ("dta.train=3", "'data'"),
        ("zzz=3", "the nearest to"),
    ],
)
def test_an_unknown_key_names_the_nearest(override, nearest):
    with pytest.raises(RecipeError, match=f"unknown key .*{nearest}"):
        load_recipe("phantom-tiny", [override])


def test_a_key_below_a_single_value_is_refused():
    with pytest.raises(RecipeError, match="nothing below"):
        load_recipe("phantom-tiny", ["epochs.first=3"])


def test_an_override_without_a_value_is_refused():
    with pytest.raises(RecipeError, match="not key=value"):
        load_recipe("phantom-tiny", ["epochs"])


@pytest.mark.parametrize("override", ["epochs=0", "warmup=1", "data.train=many", "data.source=x"])
def test_a_value_out_of_bounds_names_its_key(override):
    with pytest.raises(ValidationError, match=override.split("=")[0].split(".")[0]):
        load_recipe("phantom-tiny", [override])


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(RecipeError, match="there are biomedclip-finetune, own-pairs"):
        load_recipe("nothing", [])


def test_a_recipe_may_lie_anywhere_but_may_say_nothing_unknown(tmp_path):
    text = (CONFIGS / "phantom-tiny.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_recipe(str(path), []) == load_recipe("phantom-tiny", [])
    path.write_text(text + "momentum: 0.9\n")
    with pytest.raises(ValidationError, match="momentum"):
        load_recipe(str(path), [])


@pytest.mark.parametrize(
    "override", ["seed=-1", "data.fractions=[0.8, 0.1, 0.2]", "method=eklip", "expert.share=0"]
)
def test_values_that_cannot_be_are_refused(override):
    with pytest.raises(ValidationError):
        load_recipe("own-pairs", [override])


def test_a_value_that_is_not_yaml_is_refused():
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe("own-pairs", ["name=["])
