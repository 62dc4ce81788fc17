"""Precision, compilation and memory: what may change the arithmetic, and by how much."""

import pytest
import torch

from tests.training.conftest import changed
from tests.training.fit.runs import assert_same_weights, read_metric, run_with, weights
from training.fit.trainer import fit
from training.recipe import RecipeError

pytestmark = pytest.mark.slow


def test_checkpointed_gradients_change_no_weight(rendered, finished, tiny_recipe, tmp_path):
    _, clip = run_with(rendered, tmp_path, tiny_recipe, run={"checkpoint_gradients": True})
    for name, value in weights(finished.clip).items():
        torch.testing.assert_close(clip.model.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_half_precision_trains_as_full_precision_does(rendered, finished, tiny_recipe, tmp_path):
    run, clip = run_with(rendered, tmp_path, tiny_recipe, run={"precision": "bf16-mixed"})
    assert clip.model.visual.proj.dtype == torch.float32
    losses = [value for _, value in read_metric(run, "loss")]
    assert losses != finished.losses
    assert losses == pytest.approx(finished.losses, abs=0.05)


def test_fp16_without_an_accelerator_is_refused_before_anything_is_written(
    tiny_recipe, tmp_path, monkeypatch
):
    """Lightning would train in bf16 instead."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="precision=bf16-mixed"):
        fit(changed(tiny_recipe, run={"precision": "16-mixed"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_compiled_towers_are_what_trains(rendered, finished, tiny_recipe, tmp_path, monkeypatch):
    """With a compiler that counts calls and changes nothing."""
    calls = []

    def compiler(function):
        return lambda *arguments: (calls.append(function.__name__), function(*arguments))[1]

    monkeypatch.setattr(torch, "compile", compiler)
    _, clip = run_with(rendered, tmp_path, tiny_recipe, run={"compile": True})
    assert calls.count("_images") >= 24 <= calls.count("_texts")
    assert_same_weights(weights(clip), weights(finished.clip))


def test_a_run_in_parts_is_the_run_in_one(rendered, finished, tiny_recipe, tmp_path):
    _, clip = run_with(rendered, tmp_path, tiny_recipe, run={"part": 4})
    for name, value in weights(finished.clip).items():
        torch.testing.assert_close(clip.model.state_dict()[name], value, atol=2e-4, rtol=2e-3)
