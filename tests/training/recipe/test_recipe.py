import json

import pytest

from training.data.gaze import Sigma
from training.data.spec import ManifestData, ShardData
from training.recipe import (
    CONFIGS,
    ExpertSpec,
    ModelSpec,
    OptimiserSpec,
    RecipeError,
    RunSpec,
    load_recipe,
    read_recipe,
    recipe_names,
)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_project_is_valid(name):
    assert load_recipe(name, []).name == name


def flat(recipe):
    """The values of a recipe by their keys, such as `optimiser.epochs`."""
    return {
        f"{section}.{key}": value
        for section, values in recipe.model_dump().items()
        if isinstance(values, dict)
        for key, value in values.items()
    }


def test_the_papers_recipe_differs_from_ours_in_these_settings_alone():
    """docs/training.md has the same table, with reasons."""
    paper, ours = flat(load_recipe("paper", [])), flat(load_recipe("paper-adapted", []))
    assert {key: (paper[key], ours[key]) for key in paper if paper[key] != ours[key]} == {
        "model.name": ("swin-t-bioclinicalbert-cls", "swin-t-bioclinicalbert"),
        "model.pixels": ({"mean": 0.58, "std": 0.26}, None),
        "expert.batch": (256, 64),
        "expert.curriculum_end": (0.05, 0.1),
        "expert.alpha": (0.2, 0.3),
        "expert.one_weight": (True, False),
        "expert.processor": ("published", "adapted"),
        "expert.processor_rate": (2.0, 1.0),
        "expert.heads": (8, 4),
        "expert.priming_weight": (0.3, 0.1),
        "expert.priming_contrast": (0.7, 1.0),
        "optimiser.weight_decay": (1e-3, 0.1),
        "run.watched": ("loss", "recall@5"),
        "run.patience": (10, None),
        "run.weights": ("best", "last"),
    }
    assert paper["expert.batch"] == paper["optimiser.batch_size"] / 2


def test_our_recipe_of_the_paper_keeps_its_settings():
    recipe = load_recipe("paper-adapted", [])
    assert (recipe.seed, recipe.method) == (0, "eclip")
    assert recipe.model == ModelSpec(name="swin-t-bioclinicalbert", pretrained="towers")
    assert recipe.expert == ExpertSpec(share=1.0, batch=64, sigma=Sigma(15, "pixel"))
    assert recipe.optimiser == OptimiserSpec(
        epochs=20, batch_size=512, learning_rate=1e-4, weight_decay=0.1, warmup=0.1
    )
    assert recipe.run == RunSpec(checkpoint_every=500, precision="bf16-mixed", workers=8, part=128)


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
        ("epoch=3", "'optimiser.epochs'"),
        ("optimiser.epoch=3", "'optimiser.epochs'"),
        ("learning-rate=3", "'optimiser.learning_rate'"),
        ("data.trian=3", "'data.train'"),
        ("dta.train=3", "'data.train'"),
        ("modle.name=x", "'model.name'"),
        ("zzz=3", "the nearest is"),
        ("unit=pixel", "'expert.sigma.unit'"),
    ],
)
def test_an_unknown_key_names_the_nearest(override, nearest):
    with pytest.raises(RecipeError, match=f"unknown key .*{nearest}"):
        load_recipe("phantom-tiny", [override])


def test_the_section_of_a_key_may_be_left_out_where_one_alone_has_it():
    flat = ["epochs=3", "batch_size=8", "precision=bf16-mixed", "augment=true", "share=0.5"]
    full = [
        "optimiser.epochs=3",
        "optimiser.batch_size=8",
        "run.precision=bf16-mixed",
        "data.augment=true",
        "expert.share=0.5",
    ]
    assert load_recipe("phantom-tiny", flat) == load_recipe("phantom-tiny", full)


def test_a_key_that_is_no_sections_is_the_recipes():
    recipe = load_recipe("phantom-tiny", ["seed=5", "name=mine"])
    assert (recipe.seed, recipe.data.seed) == (5, 2024)
    assert (recipe.name, recipe.model.name) == ("mine", "phantom-tiny")


def test_a_key_of_several_sections_names_them():
    complaint = r"'size' is a key of several sections; set one of data\.size, expert\.sigma\.size$"
    with pytest.raises(RecipeError, match=complaint):
        load_recipe("phantom-tiny", ["size=64"])


@pytest.mark.parametrize(
    ("recipe", "override", "kinds"),
    [
        ("phantom-tiny", "data.fractions=[1, 0, 0]", "manifest and shards"),
        ("phantom-tiny", "path=x", "manifest and shards"),
        ("own-pairs", "data.train=3", "phantom"),
        ("own-pairs", "size=3", "phantom"),
    ],
)
def test_a_key_of_another_kind_of_data_names_the_kinds(recipe, override, kinds):
    with pytest.raises(RecipeError, match=f"is a key of {kinds} data alone") as refused:
        load_recipe(recipe, [override])
    assert "nearest" not in str(refused.value)


def test_a_whole_data_section_changes_the_kind_and_keeps_what_all_kinds_have():
    whole = "data={source: shards, path: x}"
    recipe = load_recipe("phantom-tiny", ["data.augment=true", whole])
    assert recipe.data == ShardData(source="shards", path="x", augment=True)
    assert not load_recipe("phantom-tiny", [whole]).data.augment
    without = "data={source: shards, path: x, augment: false}"
    assert not load_recipe("phantom-tiny", ["data.augment=true", without]).data.augment


def test_a_key_of_the_new_kind_of_data_can_be_set_after_it():
    changes = ["data={source: manifest, path: x}", "data.fractions=[1, 0, 0]"]
    data = load_recipe("phantom-tiny", changes).data
    assert data == ManifestData(source="manifest", path="x", fractions=(1, 0, 0))


def test_a_whole_data_section_of_an_unknown_kind_is_refused():
    with pytest.raises(RecipeError, match=r"^data:"):
        load_recipe("phantom-tiny", ["data={source: [x], path: x}"])


def test_a_key_below_a_single_value_is_refused():
    with pytest.raises(RecipeError, match="'first' would be inside a single value"):
        load_recipe("phantom-tiny", ["optimiser.epochs.first=3"])


@pytest.mark.parametrize(
    ("override", "example"), [("model=ViT-B-32", "model.name"), ("expert=null", "expert.share")]
)
def test_a_section_cannot_be_set_to_a_single_value(override, example):
    with pytest.raises(RecipeError) as refused:
        load_recipe("phantom-tiny", [override])
    key = override.partition("=")[0]
    assert str(refused.value) == f"{key!r} is a section; set a key of it, such as {example}"


@pytest.mark.parametrize("override", ["model.pixels=null", "pixels=null"])
def test_an_optional_section_can_be_unset(override):
    assert load_recipe("paper", [override]).model.pixels is None


def test_a_section_that_is_not_set_is_to_be_set_whole():
    with pytest.raises(RecipeError, match="or in a section that has to be set whole"):
        load_recipe("phantom-tiny", ["model.pixels.mean=0.58"])


def test_an_override_without_a_value_is_refused():
    with pytest.raises(RecipeError, match="not key=value"):
        load_recipe("phantom-tiny", ["optimiser.epochs"])


@pytest.mark.parametrize(
    "override",
    [
        "optimiser.epochs=0",
        "optimiser.warmup=1",
        "optimiser.weight_decay=.nan",
        "expert.alpha=.inf",
        "data.train=many",
        "data.source=x",
        "seed=-1",
    ],
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
