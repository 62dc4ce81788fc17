"""A run that was stopped anywhere ends as one that never stopped."""

import shutil

import pytest
import torch

from tests.training.conftest import changed
from tests.training.fit.runs import assert_same_weights, run_with, weights
from training.fit import loop
from training.fit.loop import ClipTraining
from training.fit.trainer import fit
from training.run.folder import BEST, CHECKPOINT, WholeCheckpoints, load_run
from training.run.record import last_measured

pytestmark = pytest.mark.slow


@pytest.fixture
def stopped(monkeypatch):
    """Fit until the power fails before a step."""
    step = ClipTraining.training_step

    def until(number, recipe, run):
        def fails(self, batch, index):
            if self.global_step == number:
                raise RuntimeError("no power")
            return step(self, batch, index)

        with monkeypatch.context() as patch:
            patch.setattr(ClipTraining, "training_step", fails)
            with pytest.raises(RuntimeError, match="no power"):
                fit(recipe, run)

    return until


@pytest.mark.parametrize("stopped_at", [6, 15])
def test_a_resumed_run_equals_one_that_never_stopped(
    rendered, finished, tiny_recipe, tmp_path, stopped, stopped_at
):
    """The power fails at the start of a span of steps, or in the middle of one."""
    run = shutil.copytree(rendered, tmp_path / "run")
    stopped(stopped_at, tiny_recipe, run)
    _, halfway = load_run(run)
    assert not torch.equal(halfway.model.visual.proj, finished.clip.model.visual.proj)
    assert_same_weights(weights(fit(tiny_recipe, run)), weights(finished.clip))
    kept = [torch.load(r / CHECKPOINT, weights_only=True) for r in (run, finished.run)]
    assert [k["global_step"] for k in kept] == [24, 24]
    for one, other in zip(*(k["optimizer_states"][0]["state"].values() for k in kept), strict=True):
        assert torch.equal(one["exp_avg_sq"], other["exp_avg_sq"])


def test_a_finished_run_is_not_trained_further(finished, tiny_recipe):
    before = (finished.run / CHECKPOINT).read_bytes()
    assert_same_weights(weights(fit(tiny_recipe, finished.run)), weights(finished.clip))
    assert (finished.run / CHECKPOINT).read_bytes() == before


def test_a_resumed_eclip_equals_one_that_never_stopped(rendered, tiny_recipe, tmp_path, stopped):
    """Experts, mixup, priming and the processor's own optimizer state included."""
    recipe = changed(tiny_recipe, method="eclip", data={"augment": True})
    _, straight = run_with(rendered, tmp_path, recipe, "straight")
    run = shutil.copytree(rendered, tmp_path / "stopped")
    stopped(14, recipe, run)
    assert_same_weights(weights(fit(recipe, run)), weights(straight))
    states = [
        torch.load(r / CHECKPOINT, weights_only=True)["state_dict"]
        for r in (run, tmp_path / "straight")
    ]
    assert_same_weights(*states)
    assert any(name.startswith("expert_clip.processor.") for name in states[0])


@pytest.mark.parametrize("part", [None, 8])
def test_what_the_towers_draw_at_random_is_drawn_again_when_a_run_resumes(
    rendered, tiny_recipe, tmp_path, stopped, part
):
    recipe = changed(tiny_recipe, model={"name": "tiny-dropout"}, run={"part": part})
    _, straight = run_with(rendered, tmp_path, recipe, "straight")
    run = shutil.copytree(rendered, tmp_path / "stopped")
    stopped(15, recipe, run)
    assert_same_weights(weights(fit(recipe, run)), weights(straight))


def test_the_best_checkpoint_outlives_a_kill_and_a_move(
    rendered, tiny_recipe, tmp_path, stopped, monkeypatch
):
    """Validation finds it at the first of four checkpoints; the third never comes before a stop."""
    losses = {6: 1.0, 12: 3.0, 18: 2.0, 24: 2.5}
    steps = []
    monkeypatch.setattr(loop, "validation_loss", lambda *_: losses[steps[-1]])
    monkeypatch.setattr(
        ClipTraining, "on_validation_start", lambda self: steps.append(self.global_step)
    )
    recipe = changed(tiny_recipe, run={"watched": "loss", "weights": "best"})
    run = shutil.copytree(rendered, tmp_path / "run")
    stopped(15, recipe, run)
    kept = (run / BEST).read_bytes()
    moved = run.rename(tmp_path / "moved")
    given = fit(recipe, moved)
    assert steps == [6, 12, 18, 24]
    assert (moved / BEST).read_bytes() == kept
    state = torch.load(moved / BEST, weights_only=True)
    assert state["global_step"] == 6
    assert torch.equal(
        given.model.visual.proj, state["state_dict"]["expert_clip.model.visual.proj"]
    )


def test_a_kill_between_the_best_checkpoint_and_the_last_changes_nothing(
    rendered, tiny_recipe, tmp_path, monkeypatch
):
    recipe = changed(tiny_recipe, run={"watched": "loss", "weights": "best"})
    _, straight = run_with(rendered, tmp_path, recipe, "straight")
    run = shutil.copytree(rendered, tmp_path / "killed")
    write = WholeCheckpoints.save_checkpoint

    def fails(self, checkpoint, path, storage_options=None):
        if checkpoint["global_step"] == 12 and str(path).endswith(CHECKPOINT):
            raise RuntimeError("no power")
        write(self, checkpoint, path, storage_options)

    with monkeypatch.context() as patch:
        patch.setattr(WholeCheckpoints, "save_checkpoint", fails)
        with pytest.raises(RuntimeError, match="no power"):
            fit(recipe, run)
    assert_same_weights(weights(fit(recipe, run)), weights(straight))


def test_a_resumed_average_equals_one_that_never_stopped(rendered, tiny_recipe, tmp_path, stopped):
    recipe = changed(tiny_recipe, optimiser={"ema": 0.9})
    straight, given = run_with(rendered, tmp_path, recipe, "straight")
    run = shutil.copytree(rendered, tmp_path / "stopped")
    stopped(15, recipe, run)
    assert_same_weights(weights(fit(recipe, run)), weights(given))
    assert last_measured(run) == last_measured(straight)
    current = [
        torch.load(r / CHECKPOINT, weights_only=True)["current_model_state"]
        for r in (run, straight)
    ]
    assert_same_weights(*current)
