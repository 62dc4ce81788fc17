"""Refuses what a machine, a model or the data cannot do, before the first step."""

import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from training.model.attention import PoolingAttention
from training.model.clip import Clip
from training.model.pooling import NoPoolingAttention
from training.recipe import ExpertSpec, OptimiserSpec, RecipeError, RunSpec
from training.recipe.methods import Method


def check_machine(
    method: Method, expert: ExpertSpec, optimiser: OptimiserSpec, run: RunSpec
) -> None:
    """Raises RecipeError if this machine cannot run the recipe as it says."""
    _check_processes(method, expert, optimiser, run)
    if run.precision == "16-mixed" and not torch.accelerator.is_available():
        raise RecipeError("a CPU cannot train in fp16; set run.precision=bf16-mixed or 32-true")
    if run.compile and method.attends:
        raise RecipeError(f"{method.name} reads the tower while it runs; set run.compile=false")


def check_attention(method: Method, clip: Clip) -> None:
    """Raises RecipeError if the method guides attention that the model's tower does not have."""
    if method.attends:
        try:
            PoolingAttention(clip.model.visual)
        except NoPoolingAttention as error:
            name = clip.provenance["open_clip_model"]
            raise RecipeError(f"{method.name} cannot train {name}: {error}") from error


def check_experts(experts: int, expert: ExpertSpec, run: RunSpec) -> None:
    """Raises RecipeError if the processes cannot share the expert pairs of a step evenly.

    experts: how many expert studies there are; a step draws `expert.batch` of them, or all.
    """
    processes, drawn = _processes(run), min(expert.batch, experts)
    if drawn % processes:
        raise RecipeError(
            f"{processes} processes cannot share {drawn} expert pairs evenly; change expert.batch"
        )


def check_pairs(pairs: int, validation: int | None, optimiser: OptimiserSpec, run: RunSpec) -> None:
    """Raises RecipeError if there are too few training pairs, or validation pairs are missing.

    validation: how many there are; None where the recipe sets none aside.
    """
    if pairs < optimiser.batch_size:
        raise RecipeError(
            f"{pairs} training pairs do not fill a batch of {optimiser.batch_size}; lower "
            "optimiser.batch_size"
        )
    watching = "run.weights=best" if run.weights == "best" else "run.patience"
    if validation is None and (run.weights == "best" or run.patience is not None):
        raise RecipeError(
            f"{watching} needs a validation split; set some studies aside (data.validation or "
            "data.fractions)"
        )


def _check_processes(
    method: Method, expert: ExpertSpec, optimiser: OptimiserSpec, run: RunSpec
) -> None:
    processes = _processes(run)
    if TorchElasticEnvironment.detect() and TorchElasticEnvironment().world_size() != processes:
        raise RecipeError(
            f"torchrun started another number of processes than run.devices × run.nodes = "
            f"{processes}"
        )
    if optimiser.batch_size % processes or expert.batch % processes:
        raise RecipeError(
            f"{processes} processes cannot share a batch evenly; change optimiser.batch_size or "
            "expert.batch"
        )
    if processes > 1 and method.view == "neighbour":
        raise RecipeError(
            f"{method.name} mixes images of one process; set run.devices=1 and run.nodes=1"
        )


def _processes(run: RunSpec) -> int:
    return run.devices * run.nodes
