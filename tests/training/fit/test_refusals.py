"""What a machine, a model or the data cannot do is refused before the first step."""

import json
import shutil

import pytest

from tests.training.conftest import changed
from tests.training.fit.runs import run_with
from training.fit.checks import check_experts
from training.fit.trainer import fit
from training.model import clip as clip_module
from training.recipe import RecipeError
from training.run.folder import CHECKPOINT

pytestmark = pytest.mark.slow


def test_pairs_that_fill_no_batch_are_refused(rendered, tiny_recipe, tmp_path):
    run = shutil.copytree(rendered, tmp_path / "run")
    with pytest.raises(RecipeError, match="96 training pairs do not fill a batch of 97"):
        fit(changed(tiny_recipe, optimiser={"batch_size": 97}), run)


def test_a_tower_without_pooling_attention_is_refused_before_a_step(
    rendered, tiny_recipe, tmp_path, tiny_model
):
    config = json.loads((clip_module.CONFIGS / f"{tiny_model}.json").read_text())
    config["vision_cfg"]["pool_type"] = "avg"
    (clip_module.CONFIGS / "tiny-mean.json").write_text(json.dumps(config))
    model = {"name": "tiny-mean"}
    with pytest.raises(RecipeError, match="gaze_attention cannot train tiny-mean"):
        run_with(rendered, tmp_path, tiny_recipe, model=model, method="gaze_attention")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_guided_attention_is_not_compiled_by_halves(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="compile=false"):
        run_with(rendered, tmp_path, tiny_recipe, method="gaze_attention", run={"compile": True})


def test_a_batch_that_the_ranks_cannot_share_is_refused(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="3 processes"):
        run_with(rendered, tmp_path, tiny_recipe, run={"devices": 3})


def test_a_logger_that_is_not_installed_is_named(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="not installed"):
        run_with(rendered, tmp_path, tiny_recipe, run={"loggers": ("wandb",)})


@pytest.mark.parametrize(
    ("run", "key"), [({"patience": 1}, "run.patience"), ({"weights": "best"}, "run.weights=best")]
)
def test_what_needs_validation_is_refused_without_it(rendered, tiny_recipe, tmp_path, run, key):
    with pytest.raises(RecipeError, match=f"^{key} needs a validation split"):
        run_with(rendered, tmp_path, tiny_recipe, data={"validation": 0}, run=run)


@pytest.mark.parametrize(("count", "shared"), [(3, False), (1, False), (2, True), (9, True)])
def test_experts_that_the_ranks_cannot_share_are_refused(tiny_recipe, count, shared):
    """Of nine, the four of a batch are drawn; of three, all."""
    recipe = changed(tiny_recipe, run={"devices": 2})
    if shared:
        check_experts(count, recipe.expert, recipe.run)
    else:
        with pytest.raises(RecipeError, match="expert pairs evenly"):
            check_experts(count, recipe.expert, recipe.run)


def test_torchrun_with_another_number_of_processes_is_refused(
    rendered, tiny_recipe, tmp_path, monkeypatch
):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="torchrun"):
        run_with(rendered, tmp_path, tiny_recipe)


def test_weights_for_a_model_that_has_none_are_refused(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="no pretrained weights"):
        run_with(rendered, tmp_path, tiny_recipe, model={"pretrained": "openai"})


def test_a_processor_that_does_not_fit_the_image_is_refused(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"do not tile .* change expert\.patch"):
        run_with(rendered, tmp_path, tiny_recipe, method="eclip", expert={"patch": 5})
