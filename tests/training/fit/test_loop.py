"""The training step, its optimiser and its schedule."""

import json
import math
from itertools import chain

import numpy as np
import pytest
import torch

from tests.training.conftest import changed
from tests.training.fit.runs import read_metric
from training.data.experts import Experts
from training.data.pairs import Pairs
from training.fit.loop import (
    MAX_LOGIT_SCALE,
    ClipTraining,
    learning_rate_factor,
    validation_loss,
)
from training.fit.plan import Plan
from training.model.clip import from_config
from training.recipe.methods import METHODS


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (32.5, 0.8535534), (55, 0.5), (100, 0.0)],
)
def test_the_learning_rate_rises_linearly_and_falls_as_a_half_cosine(step, factor):
    assert learning_rate_factor(step, warmup=10, steps=100) == pytest.approx(factor, abs=1e-7)


def test_a_run_that_is_all_warm_up_has_a_learning_rate():
    assert [learning_rate_factor(step, 2, 2) for step in range(3)] == [0.5, 1.0, 1.0]


@pytest.fixture
def training(tiny_model, tiny_recipe, tokenizer, rendered):
    """The Lightning module of a method."""
    train = Pairs.load(rendered / "train")

    def make(name="clip", **expert):
        method = METHODS[name]
        experts = Experts.of(train, 1, method.gaze, 0) if method.has_experts else None
        plan = Plan(
            train, experts, tokenizer, method, 0, 16, changed(tiny_recipe, expert=expert).expert, 4
        )
        sections = tiny_recipe.optimiser, tiny_recipe.run
        return ClipTraining(from_config(tiny_model, tokenizer), plan, None, *sections)

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
    training = training(method)
    (optimizer,), _ = training.configure_optimizers()
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (
        tiny_recipe.optimiser.weight_decay,
        0.0,
    )
    assert min(p.ndim for p in decayed["params"]) == 2
    optimised = {id(p) for p in chain(decayed["params"], plain["params"])}
    assert optimised == {id(p) for p in training.parameters()}


def test_the_processor_may_learn_at_another_rate(training, tiny_recipe):
    rate = tiny_recipe.optimiser.learning_rate
    training = training("eclip", processor_rate=2.0)
    (optimizer,), _ = training.configure_optimizers()
    of_processor = {id(p) for p in training.processor.parameters()}
    for group in optimizer.param_groups:
        theirs = {id(p) in of_processor for p in group["params"]}
        assert theirs == {group["initial_lr"] == 2 * rate}
        matrices = {p.ndim >= 2 for p in group["params"]}
        assert matrices == {group["weight_decay"] == tiny_recipe.optimiser.weight_decay}
    optimised = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in training.parameters())


@pytest.mark.parametrize(
    ("size", "batches"), [(4, [(0, 4), (4, 8)]), (5, [(0, 5)]), (64, [(0, 9)])]
)
def test_the_validation_loss_is_the_mean_over_full_batches(training, size, batches):
    model = training().clip.model
    draw = np.random.default_rng(0)
    images, texts = (unit(draw.normal(size=(9, 4))) for _ in range(2))
    losses = []
    for first, last in batches:
        logits = model.logit_scale.exp().item() * images[first:last] @ texts[first:last].T
        losses += [cross_entropy(logits), cross_entropy(logits.T)]
    with torch.no_grad():
        measured = validation_loss(images, texts, model, size)
    assert measured == pytest.approx(np.mean(losses), abs=1e-5)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cross_entropy(logits):
    return (np.log(np.exp(logits).sum(axis=1)) - logits.diagonal()).mean()


def test_training_lowers_the_loss(finished):
    epochs = np.array(finished.losses).reshape(4, 6).mean(axis=1)
    assert epochs[0] == pytest.approx(math.log(16), abs=0.3)
    assert epochs[-1] < epochs[0] - 0.05


def test_a_run_leaves_its_metrics_and_its_environment(finished, tiny_recipe):
    losses = read_metric(finished.run, "loss")
    assert [value for _, value in losses] == pytest.approx(finished.losses)
    for metric in ("recall@5", "alignment", "uniformity/image", "modality_gap"):
        assert len(read_metric(finished.run, f"validation/{metric}")) == 4
    environment = json.loads((finished.run / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert (finished.run / "curves.png").stat().st_size > 1000
    assert json.loads((finished.run / "recipe.json").read_text())["name"] == tiny_recipe.name
