"""What each method does with its expert pairs in a real run."""

import shutil
from dataclasses import replace
from itertools import combinations

import pyarrow.parquet as pq
import pytest
import torch

from tests.training.conftest import changed
from tests.training.fit.runs import assert_same_weights, read_metric, run_with, weights
from training.fit import loop, trainer
from training.fit.loop import ClipTraining
from training.fit.trainer import fit
from training.recipe.curriculum import Schedule
from training.recipe.methods import METHODS
from training.run.folder import load_run

pytestmark = pytest.mark.slow


def test_another_seed_gives_other_weights(rendered, finished, tiny_recipe, tmp_path):
    run = shutil.copytree(rendered, tmp_path / "run")
    other = fit(changed(tiny_recipe, seed=1, optimiser={"epochs": 1}), run)
    assert not torch.equal(other.model.visual.proj, finished.clip.model.visual.proj)


def test_experts_that_never_join_leave_clips_trajectory_bitwise(
    rendered, finished, tiny_recipe, tmp_path, monkeypatch
):
    never = replace(METHODS["eclip"], schedule=Schedule(((2.0, 1.0),)))
    monkeypatch.setitem(METHODS, "eclip", never)
    expert = {"priming_weight": 0.0}
    _, clip = run_with(rendered, tmp_path, tiny_recipe, method="eclip", expert=expert)
    assert_same_weights(weights(clip), weights(finished.clip))


def test_experts_that_join_change_the_weights(rendered, finished, tiny_recipe, tmp_path):
    arms = [finished.clip] + [
        run_with(rendered, tmp_path, tiny_recipe, name, method=name)[1]
        for name in ("eclip", "duplicate", "shuffled_gaze")
    ]
    projections = [clip.model.visual.proj for clip in arms]
    for one, other in combinations(projections, 2):
        assert not torch.equal(one, other)


def test_gaze_that_guides_attention_changes_the_weights_and_is_logged(
    rendered, tiny_recipe, tmp_path
):
    clips = {
        name: run_with(rendered, tmp_path, tiny_recipe, name, method=name)
        for name in ("gaze_attention", "shuffled_attention", "duplicate_always")
    }
    states = [weights(clip) for _, clip in clips.values()]
    for one, other in combinations(states, 2):
        assert not torch.equal(one["visual.proj"], other["visual.proj"])
    rows = pq.read_table(clips["gaze_attention"][0] / "metrics.parquet").to_pylist()
    guided = [row["value"] for row in rows if row["metric"] == "attention"]
    assert guided[-1] < guided[0]


def test_attention_that_weighs_nothing_is_the_run_without_it(
    rendered, tiny_recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "attention_loss", lambda *_: torch.zeros(()))
    _, guided = run_with(rendered, tmp_path, tiny_recipe, "guided", method="gaze_attention")
    _, plain = run_with(rendered, tmp_path, tiny_recipe, "plain", method="duplicate_always")
    for name, value in weights(plain).items():
        torch.testing.assert_close(guided.model.state_dict()[name], value)


@pytest.mark.parametrize("method", METHODS)
def test_every_arm_trains_and_gives_a_plain_clip(rendered, tiny_recipe, tmp_path, method):
    run, clip = run_with(rendered, tmp_path, tiny_recipe, method=method, optimiser={"epochs": 1})
    assert all(value.isfinite().all() for value in clip.model.state_dict().values())
    _, loaded = load_run(run)
    assert_same_weights(weights(loaded), weights(clip))


def test_post_tuning_begins_with_the_weights_of_a_finished_clip(
    rendered, finished, tiny_recipe, tmp_path, monkeypatch
):
    begun = {}
    monkeypatch.setattr(
        ClipTraining, "on_train_start", lambda self: begun.update(weights(self.clip)), raising=False
    )
    model, optimiser = {"start": finished.run}, {"epochs": 1}
    _, clip = run_with(
        rendered, tmp_path, tiny_recipe, method="eclip", model=model, optimiser=optimiser
    )
    assert_same_weights(begun, weights(finished.clip))
    assert not torch.equal(clip.model.visual.proj, finished.clip.model.visual.proj)


def test_the_processor_can_be_primed_before_the_run(rendered, tiny_recipe, tmp_path):
    expert = {"primed_first": 60}
    primed, _ = run_with(rendered, tmp_path, tiny_recipe, "a", method="eclip", expert=expert)
    plain, _ = run_with(rendered, tmp_path, tiny_recipe, "b", method="eclip")
    first = [read_metric(run, "priming")[0][1] for run in (primed, plain)]
    assert first[0] < 0.7 * first[1]


def test_the_ablation_without_priming_is_never_primed(rendered, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "prime", lambda *_: pytest.fail("it was primed"))
    changes = {"expert": {"primed_first": 5}, "optimiser": {"epochs": 1}}
    run_with(rendered, tmp_path, tiny_recipe, method="eclip_no_priming", **changes)
