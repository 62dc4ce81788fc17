"""Trains a recipe on Lightning: `fit` is what `eclip-train fit` does.

A run advances in spans of `run.checkpoint_every` steps, which Lightning calls epochs. After each
span the validation split is measured and a checkpoint written. A step sees what its number alone
decides (`training.fit.plan`), so a run that was stopped anywhere resumes at its last checkpoint and
ends with the weights of one that never stopped.
"""

import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytorch_lightning as lightning
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
)

from service.bundle.tokenizer import Tokenizer
from training.data.dataset import SplitReader
from training.data.experts import Experts
from training.data.pairs import Pairs
from training.data.spec import PhantomData
from training.fit.best import KeepBest, Watched
from training.fit.checks import check_attention, check_experts, check_machine, check_pairs
from training.fit.loggers import loggers, remember
from training.fit.loop import ClipTraining
from training.fit.plan import Plan
from training.fit.priming import prime
from training.model.clip import Clip, is_own
from training.recipe import Recipe, RecipeError
from training.recipe.methods import METHODS
from training.run.folder import (
    BEST,
    CHECKPOINT,
    WholeCheckpoints,
    load_weights,
    open_data,
    open_run,
)
from training.run.models import image_input, open_clip_model, own_model
from training.run.record import RunRecord

log = logging.getLogger(__name__)

MOST_VALIDATED = 2000
"""Validation pairs that are measured at a checkpoint; every pair is compared with every other."""


class Start(NamedTuple):
    """A model before its first step, and the pairs that it is trained and measured on."""

    clip: Clip
    train: Pairs
    validation: Pairs | None


def fit(recipe: Recipe, folder: Path) -> Clip:
    """Trains in `folder` and returns the model. Resumes from the checkpoint that is there.

    Raises RecipeError if `folder` holds a run of another recipe, if the pairs do not fill a batch,
    or if the machine cannot do what the recipe asks; DataError if the data cannot be used.
    """
    check_machine(METHODS[recipe.method], recipe.expert, recipe.optimiser, recipe.run)
    open_run(folder, recipe)
    lightning.seed_everything(recipe.seed)
    start = _read(recipe, folder)
    assert start.clip.tokenizer is not None  # noqa: S101 — a recipe names no model of images alone
    plan = _plan(recipe, start.train, start.clip.tokenizer)
    return _train(recipe, folder, start, plan)


def _read(recipe: Recipe, folder: Path) -> Start:
    """Reads the pairs, and builds the model that they are to train."""
    clip = None if is_own(recipe.model.name) else open_clip_model(recipe.model)
    spec = image_input(recipe.model) if clip is None else clip.image
    read = open_data(recipe, spec, folder)
    train = read("train")
    clip = clip or own_model(recipe.model, folder, lambda: train.reports)
    if recipe.model.start is not None:
        load_weights(clip.model, recipe.model.start)
    check_attention(METHODS[recipe.method], clip)
    validation = _validation(recipe, read)
    check_pairs(
        len(train), None if validation is None else len(validation), recipe.optimiser, recipe.run
    )
    return Start(clip, train, validation)


def _validation(recipe: Recipe, read: SplitReader) -> Pairs | None:
    """Returns a sample of the validation split, or None if the recipe sets none aside."""
    data = recipe.data
    aside = data.validation if isinstance(data, PhantomData) else data.fractions[1]
    if not aside:
        return None
    pairs = read("validation")
    if not len(pairs):
        raise RecipeError("the validation split is empty; change data.fractions, or set it to 0")
    rows = np.random.default_rng(recipe.seed).permutation(len(pairs))[:MOST_VALIDATED]
    return pairs.at(np.sort(rows))


def _plan(recipe: Recipe, train: Pairs, tokenizer: Tokenizer) -> Plan:
    too_long = 100 * tokenizer(train.reports).truncated.mean()
    log.info("%.1f %% of the reports are longer than the context", too_long)
    return Plan(
        pairs=train,
        experts=_experts(recipe, train),
        tokenizer=tokenizer,
        method=METHODS[recipe.method].ending_at(recipe.expert.curriculum_end),
        seed=recipe.seed,
        batch_size=recipe.optimiser.batch_size,
        expert=recipe.expert,
        epochs=recipe.optimiser.epochs,
        augment=recipe.data.augment,
    )


def _experts(recipe: Recipe, train: Pairs) -> Experts | None:
    method, expert = METHODS[recipe.method], recipe.expert
    if not method.has_experts:
        return None
    experts = Experts.of(train, expert.share, method.gaze, recipe.seed, expert.misplaced)
    check_experts(len(experts), expert, recipe.run)
    log.info("%d expert studies among %d", len(experts), len(train))
    return experts


def _train(recipe: Recipe, folder: Path, start: Start, plan: Plan) -> Clip:
    """Runs the steps that are left; returns the model with the weights that the recipe asks for."""
    clip, checkpoint = start.clip, folder / CHECKPOINT
    training = ClipTraining(clip, plan, start.validation, recipe.optimiser, recipe.run)
    if training.processor is not None and plan.method.primed and not checkpoint.exists():
        prime(training.expert_clip, start.train, recipe.expert.primed_first, recipe.seed)
    if recipe.run.checkpoint_gradients:
        clip.model.set_grad_checkpointing(True)
    if recipe.run.compile:
        training.expert_clip.compile_towers()
    trainer = _trainer(recipe, folder, plan)
    trainer.fit(training, ckpt_path=checkpoint if checkpoint.exists() else None)
    if recipe.optimiser.ema is not None or recipe.run.weights == "best":
        load_weights(clip.model, folder)
    return clip


def _trainer(recipe: Recipe, folder: Path, plan: Plan) -> lightning.Trainer:
    run = recipe.run
    watching = loggers(run.loggers, recipe.name, folder)
    trainer = lightning.Trainer(
        default_root_dir=folder,
        max_epochs=math.ceil(plan.steps / run.checkpoint_every),
        devices=run.devices,
        num_nodes=run.nodes,
        strategy="ddp_find_unused_parameters_true" if run.devices * run.nodes > 1 else "auto",
        precision=run.precision,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        callbacks=_callbacks(recipe, folder),
        logger=[*watching, RunRecord(folder)],
        enable_model_summary=False,
        plugins=[WholeCheckpoints()],
    )
    remember(run.loggers, folder, watching)
    return trainer


def _callbacks(recipe: Recipe, folder: Path) -> list[Callback]:
    callbacks: list[Callback] = [
        RichProgressBar(),
        ModelCheckpoint(folder, filename="last", enable_version_counter=False),
    ]
    if recipe.optimiser.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=recipe.optimiser.ema))
    watched = Watched.of(recipe.run)
    if recipe.run.weights == "best":
        callbacks.append(KeepBest(folder / BEST, watched))
    if recipe.run.patience is not None:
        callbacks.append(EarlyStopping(**watched._asdict(), patience=recipe.run.patience))
    return callbacks
