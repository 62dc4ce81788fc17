import json
import math
import shutil
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from training import trainer
from training.curriculum import Schedule
from training.data.experts import Experts
from training.data.pairs import Pairs
from training.data.steps import Plan
from training.methods import METHODS
from training.model import clip as clip_module
from training.model.clip import from_config
from training.model.expert_clip import ExpertCLIP
from training.recipe import RecipeError
from training.record import last_measured
from training.trainer import (
    CHECKPOINT,
    MAX_LOGIT_SCALE,
    RECIPE,
    ClipTraining,
    fit,
    learning_rate_factor,
    load_run,
)


def weights(clip):
    return {name: value.clone() for name, value in clip.model.state_dict().items()}


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture
def train(rendered):
    return Pairs.load(rendered / "train")


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (32.5, 0.8535534), (55, 0.5), (100, 0.0)],
)
def test_the_learning_rate_rises_linearly_and_falls_as_a_half_cosine(step, factor):
    assert learning_rate_factor(step, warmup=10, steps=100) == pytest.approx(factor, abs=1e-7)


def test_a_run_that_is_all_warm_up_has_a_learning_rate():
    assert [learning_rate_factor(step, 2, 2) for step in range(3)] == [0.5, 1.0, 1.0]


@pytest.fixture
def training(tiny_model, tiny_recipe, tokenizer, train):
    """The Lightning module of a recipe with some values changed."""

    def make(**changes):
        recipe = tiny_recipe.model_copy(update=changes)
        method = METHODS[recipe.method]
        experts = Experts.of(train, 1, method.gaze, 0) if method.has_experts else None
        plan = Plan(train, experts, tokenizer, method, 0, 16, 4, 4)
        return ClipTraining(from_config(tiny_model, tokenizer), recipe, plan, None)

    return make


@pytest.mark.parametrize(("learned", "kept"), [(9.0, MAX_LOGIT_SCALE), (2.0, 2.0)])
def test_the_logit_scale_stays_at_or_below_a_hundred(training, learned, kept):
    module = training()
    module.clip.model.logit_scale.data.fill_(learned)
    module.on_train_batch_end()
    assert module.clip.model.logit_scale.item() == pytest.approx(kept)
    assert math.exp(MAX_LOGIT_SCALE) == pytest.approx(100)


@pytest.mark.parametrize("method", ["clip", "eclip"])
def test_every_weight_is_optimised_and_only_matrices_decay(training, tiny_recipe, method):
    training = training(method=method)
    (optimizer,), _ = training.configure_optimizers()
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (tiny_recipe.weight_decay, 0.0)
    assert min(p.ndim for p in decayed["params"]) == 2
    optimised = {id(p) for p in chain(decayed["params"], plain["params"])}
    assert optimised == {id(p) for p in training.parameters()}


def test_training_lowers_the_loss(finished):
    epochs = np.array(finished.losses).reshape(4, 6).mean(axis=1)
    assert epochs[0] == pytest.approx(math.log(16), abs=0.3)
    assert epochs[-1] < epochs[0] - 0.05


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


def test_another_seed_gives_other_weights(rendered, finished, tiny_recipe, tmp_path):
    run = shutil.copytree(rendered, tmp_path / "run")
    other = fit(tiny_recipe.model_copy(update={"seed": 1, "epochs": 1}), run)
    assert not torch.equal(other.model.visual.proj, finished.clip.model.visual.proj)


def test_a_bundle_takes_images_as_its_run_did(rendered, tiny_recipe, tmp_path):
    recipe = tiny_recipe.model_copy(update={"reducing_gap": 2.0, "epochs": 1})
    run = shutil.copytree(rendered, tmp_path / "run")
    trained = fit(recipe, run).image
    assert trained.reducing_gap == 2
    assert trained == trainer.image_input(recipe) == load_run(run)[1].image


def test_a_finished_run_is_not_trained_further(finished, tiny_recipe):
    before = (finished.run / CHECKPOINT).read_bytes()
    assert_same_weights(weights(fit(tiny_recipe, finished.run)), weights(finished.clip))
    assert (finished.run / CHECKPOINT).read_bytes() == before


def test_a_run_of_another_recipe_is_refused_and_left_alone(finished, tiny_recipe):
    files = {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")}
    with pytest.raises(RecipeError, match="another recipe"):
        fit(tiny_recipe.model_copy(update={"weight_decay": 0.3}), finished.run)
    assert {path: path.stat().st_mtime_ns for path in finished.run.rglob("*")} == files


def test_pairs_that_fill_no_batch_are_refused(rendered, tiny_recipe, tmp_path):
    run = shutil.copytree(rendered, tmp_path / "run")
    with pytest.raises(RecipeError, match="96 training pairs do not fill a batch of 97"):
        fit(tiny_recipe.model_copy(update={"batch_size": 97}), run)


def test_a_loaded_run_encodes_as_the_trained_model(finished, tiny_recipe):
    recipe, loaded = load_run(finished.run)
    assert recipe == tiny_recipe
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = ["No pneumothorax.", "Left effusion.", ""]
    tokens = loaded.tokenizer(texts).ids
    np.testing.assert_array_equal(tokens, finished.clip.tokenizer(texts).ids)
    with torch.no_grad():
        for clip in (loaded, finished.clip):
            clip.model.eval()
        assert torch.equal(
            loaded.model.encode_image(images), finished.clip.model.encode_image(images)
        )
        assert torch.equal(
            loaded.model.encode_text(torch.from_numpy(tokens)),
            finished.clip.model.encode_text(torch.from_numpy(tokens)),
        )
    assert loaded.provenance["recipe"]["seed"] == tiny_recipe.seed


def test_what_a_run_tells_of_its_recipe_names_no_folder(finished, tiny_recipe, tmp_path):
    run = shutil.copytree(finished.run, tmp_path / "run")
    data = tiny_recipe.data.model_copy(update={"cache": Path("/home/someone/phantoms")})
    private = tiny_recipe.model_copy(update={"data": data, "start": Path("/home/someone/first")})
    (run / RECIPE).write_text(private.model_dump_json())
    recipe, loaded = load_run(run)
    assert recipe == private
    told = loaded.provenance["recipe"]
    assert (told["data"]["cache"], told["start"]) == ("phantoms", "first")
    assert "someone" not in json.dumps(loaded.provenance)


def run_with(rendered, tmp_path, recipe, name="run", **changes):
    run = shutil.copytree(rendered, tmp_path / name)
    return run, fit(recipe.model_copy(update=changes), run)


def test_experts_that_never_join_leave_clips_trajectory_bitwise(
    rendered, finished, tiny_recipe, tmp_path, monkeypatch
):
    never = replace(METHODS["eclip"], schedule=Schedule(((2.0, 1.0),)))
    monkeypatch.setitem(METHODS, "eclip", never)
    expert = tiny_recipe.expert.model_copy(update={"priming_weight": 0.0})
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
    monkeypatch.setattr(trainer, "attention_loss", lambda *_: torch.zeros(()))
    _, guided = run_with(rendered, tmp_path, tiny_recipe, "guided", method="gaze_attention")
    _, plain = run_with(rendered, tmp_path, tiny_recipe, "plain", method="duplicate_always")
    for name, value in weights(plain).items():
        torch.testing.assert_close(guided.model.state_dict()[name], value)


def test_a_tower_without_pooling_attention_is_refused_before_a_step(
    rendered, tiny_recipe, tmp_path, tiny_model
):
    config = json.loads((clip_module.CONFIGS / f"{tiny_model}.json").read_text())
    config["vision_cfg"]["pool_type"] = "avg"
    (clip_module.CONFIGS / "tiny-mean.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match="gaze_attention cannot train tiny-mean"):
        run_with(rendered, tmp_path, tiny_recipe, model="tiny-mean", method="gaze_attention")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_guided_attention_is_not_compiled_by_halves(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="compile=false"):
        run_with(rendered, tmp_path, tiny_recipe, method="gaze_attention", compile=True)


@pytest.mark.parametrize("method", METHODS)
def test_every_arm_trains_and_gives_a_plain_clip(rendered, tiny_recipe, tmp_path, method):
    run, clip = run_with(rendered, tmp_path, tiny_recipe, method=method, epochs=1)
    assert all(value.isfinite().all() for value in clip.model.state_dict().values())
    _, loaded = load_run(run)
    assert_same_weights(weights(loaded), weights(clip))


def test_a_resumed_eclip_equals_one_that_never_stopped(rendered, tiny_recipe, tmp_path, stopped):
    """Experts, mixup, priming and the processor's own optimizer state included."""
    recipe = tiny_recipe.model_copy(update={"method": "eclip", "augment": True})
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
    recipe = tiny_recipe.model_copy(update={"model": "tiny-dropout", "part": part})
    _, straight = run_with(rendered, tmp_path, recipe, "straight")
    run = shutil.copytree(rendered, tmp_path / "stopped")
    stopped(15, recipe, run)
    assert_same_weights(weights(fit(recipe, run)), weights(straight))


def test_a_run_in_parts_is_the_run_in_one(rendered, finished, tiny_recipe, tmp_path):
    _, clip = run_with(rendered, tmp_path, tiny_recipe, part=4)
    for name, value in weights(finished.clip).items():
        torch.testing.assert_close(clip.model.state_dict()[name], value, atol=2e-4, rtol=2e-3)


def test_post_tuning_begins_with_the_weights_of_a_finished_clip(
    rendered, finished, tiny_recipe, tmp_path, monkeypatch
):
    begun = {}
    monkeypatch.setattr(
        ClipTraining, "on_train_start", lambda self: begun.update(weights(self.clip)), raising=False
    )
    changes = {"method": "eclip", "start": finished.run, "epochs": 1}
    _, clip = run_with(rendered, tmp_path, tiny_recipe, **changes)
    assert_same_weights(begun, weights(finished.clip))
    assert not torch.equal(clip.model.visual.proj, finished.clip.model.visual.proj)


def test_an_average_of_the_weights_is_what_the_run_gives(rendered, finished, tiny_recipe, tmp_path):
    run, given = run_with(rendered, tmp_path, tiny_recipe, ema=0.9)
    _, averaged = load_run(run)
    assert_same_weights(weights(averaged), weights(given))
    assert not torch.equal(averaged.model.visual.proj, finished.clip.model.visual.proj)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_validation_measures_what_the_run_gives(rendered, tiny_recipe, tmp_path, ema, precision):
    """The average, in the precision of the exported model."""
    run, _ = run_with(rendered, tmp_path, tiny_recipe, ema=ema, precision=precision)
    _, given = load_run(run)
    given.model.eval()
    pairs, model = Pairs.load(run / "validation"), ExpertCLIP(given)
    with torch.no_grad():
        images = model.images(torch.from_numpy(pairs.images))
        texts = model.texts(torch.from_numpy(given.tokenizer(pairs.reports).ids))
    measured = trainer.measures(images.numpy(), texts.numpy(), pairs)
    assert last_measured(run) == pytest.approx(
        {f"validation/{name}": value for name, value in measured.items()}, abs=1e-5
    )


def test_a_resumed_average_equals_one_that_never_stopped(rendered, tiny_recipe, tmp_path, stopped):
    recipe = tiny_recipe.model_copy(update={"ema": 0.9})
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


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_that_is_long_no_better_stops_and_stays_stopped(
    rendered, tiny_recipe, tmp_path, monkeypatch, ema
):
    monkeypatch.setattr(trainer, "measures", lambda *_: {"recall@5": 0.5})
    run, given = run_with(rendered, tmp_path, tiny_recipe, patience=1, ema=ema)
    again = fit(tiny_recipe.model_copy(update={"patience": 1, "ema": ema}), run)
    assert torch.load(run / CHECKPOINT, weights_only=True)["global_step"] == 12
    assert_same_weights(weights(again), weights(given))
    assert_same_weights(weights(load_run(run)[1]), weights(given))


def test_the_processor_can_be_primed_before_the_run(rendered, tiny_recipe, tmp_path):
    expert = tiny_recipe.expert.model_copy(update={"primed_first": 60})
    primed, _ = run_with(rendered, tmp_path, tiny_recipe, "a", method="eclip", expert=expert)
    plain, _ = run_with(rendered, tmp_path, tiny_recipe, "b", method="eclip")
    first = [read_metric(run, "priming")[0][1] for run in (primed, plain)]
    assert first[0] < 0.7 * first[1]


def read_metric(run, metric):
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    return sorted((row["step"], row["value"]) for row in rows if row["metric"] == metric)


def test_a_run_leaves_its_metrics_and_its_environment(finished, tiny_recipe):
    losses = read_metric(finished.run, "loss")
    assert [value for _, value in losses] == pytest.approx(finished.losses)
    for metric in ("recall@5", "alignment", "uniformity/image", "modality_gap"):
        assert len(read_metric(finished.run, f"validation/{metric}")) == 4
    environment = json.loads((finished.run / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert (finished.run / "curves.png").stat().st_size > 1000
    assert json.loads((finished.run / "recipe.json").read_text())["name"] == tiny_recipe.name


def test_a_batch_that_the_ranks_cannot_share_is_refused(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="3 processes"):
        run_with(rendered, tmp_path, tiny_recipe, devices=3)


def test_a_logger_that_is_not_installed_is_named(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="not installed"):
        run_with(rendered, tmp_path, tiny_recipe, loggers=("wandb",))


def test_checkpointed_gradients_change_no_weight(rendered, finished, tiny_recipe, tmp_path):
    _, clip = run_with(rendered, tmp_path, tiny_recipe, checkpoint_gradients=True)
    for name, value in weights(finished.clip).items():
        torch.testing.assert_close(clip.model.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_half_precision_trains_as_full_precision_does(rendered, finished, tiny_recipe, tmp_path):
    run, clip = run_with(rendered, tmp_path, tiny_recipe, precision="bf16-mixed")
    assert clip.model.visual.proj.dtype == torch.float32
    losses = [value for _, value in read_metric(run, "loss")]
    assert losses != finished.losses
    assert losses == pytest.approx(finished.losses, abs=0.05)


def test_fp16_without_an_accelerator_is_refused_before_anything_is_written(
    tiny_recipe, tmp_path, monkeypatch
):
    """Lightning would train in bf16 instead."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="precision to bf16-mixed"):
        fit(tiny_recipe.model_copy(update={"precision": "16-mixed"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_compiled_towers_are_what_trains(rendered, finished, tiny_recipe, tmp_path, monkeypatch):
    """With a compiler that counts calls and changes nothing."""
    calls = []

    def compiler(function):
        return lambda *arguments: (calls.append(function.__name__), function(*arguments))[1]

    monkeypatch.setattr(torch, "compile", compiler)
    _, clip = run_with(rendered, tmp_path, tiny_recipe, compile=True)
    assert calls.count("_images") >= 24 <= calls.count("_texts")
    assert_same_weights(weights(clip), weights(finished.clip))


def test_patience_without_validation_is_refused_before_training(rendered, tiny_recipe, tmp_path):
    monkeypatched = tiny_recipe.model_copy(update={"patience": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_validation", lambda *_: None)
        with pytest.raises(RecipeError, match="validation split"):
            run_with(rendered, tmp_path, monkeypatched)


def test_a_checkpoint_that_could_not_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    trainer.WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def full(path):
        Path(path).write_bytes(b"half")
        raise OSError("no space")

    base = "pytorch_lightning.plugins.io.TorchCheckpointIO.save_checkpoint"
    monkeypatch.setattr(base, lambda _, __, draft, *___: full(draft))
    with pytest.raises(OSError, match="no space"):
        trainer.WholeCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_the_ablation_without_priming_is_never_primed(rendered, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "prime", lambda *_: pytest.fail("it was primed"))
    expert = tiny_recipe.expert.model_copy(update={"primed_first": 5})
    run_with(rendered, tmp_path, tiny_recipe, method="eclip_no_priming", expert=expert, epochs=1)


@pytest.mark.parametrize(("count", "shared"), [(3, False), (1, False), (2, True), (9, True)])
def test_experts_that_the_ranks_cannot_share_are_refused(tiny_recipe, count, shared):
    """Of nine, the four of a batch are drawn; of three, all."""
    recipe = tiny_recipe.model_copy(update={"devices": 2})
    experts = Experts(np.arange(count), np.zeros((count, 1, 1), np.uint8))
    if shared:
        trainer._check_experts(recipe, experts)
    else:
        with pytest.raises(RecipeError, match="expert pairs evenly"):
            trainer._check_experts(recipe, experts)


def test_torchrun_with_another_number_of_processes_is_refused(
    rendered, tiny_recipe, tmp_path, monkeypatch
):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="torchrun"):
        run_with(rendered, tmp_path, tiny_recipe)


def test_weights_for_a_model_that_has_none_are_refused(rendered, tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="no pretrained weights"):
        run_with(rendered, tmp_path, tiny_recipe, pretrained="openai")
