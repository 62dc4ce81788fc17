"""Opens a run's folder, so that one recipe trains in it, and loads what was trained there."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from service.bundle.preprocess import ImageSpec
from service.files import remove_drafts, write_atomically, written_atomically
from training.data.dataset import SplitReader, open_pairs
from training.data.spec import PhantomData
from training.model.clip import Clip, is_own
from training.recipe import Recipe, RecipeError, read_recipe
from training.recipe.methods import METHODS
from training.run.models import open_clip_model, own_model
from training.run.record import last_measured, write_environment

RECIPE = "recipe.json"
CHECKPOINT = "last.ckpt"
BEST = "best.ckpt"
"""The best checkpoint, of a run whose recipe gives its weights (`run.weights`)."""


def is_run(folder: Path) -> bool:
    """Returns whether a folder is a run's."""
    return (folder / RECIPE).is_file()


def open_run(folder: Path, recipe: Recipe) -> None:
    """Makes `folder` the recipe's run, or opens it again to resume.

    Raises RecipeError if it holds a run of another recipe, and leaves that run as it is.
    """
    path = folder / RECIPE
    if not path.exists():
        write_atomically(path, recipe.model_dump_json(indent=1).encode())
    if read_recipe(path) != recipe:
        raise RecipeError(f"{folder} holds a run of another recipe; choose another folder")
    write_environment(folder)


def open_data(recipe: Recipe, spec: ImageSpec, folder: Path) -> SplitReader:
    """Returns what reads the pairs of a recipe's splits, with heatmaps if its method has experts.

    Shared phantoms are kept with heatmaps always. folder: the run's.
    """
    shared = isinstance(recipe.data, PhantomData) and recipe.data.cache is not None
    needed = METHODS[recipe.method].has_experts or shared
    return open_pairs(recipe.data, spec, folder, recipe.expert.sigma if needed else None)


def load_run(folder: Path) -> tuple[Recipe, Clip]:
    """Returns the recipe and the trained model of a finished or interrupted run."""
    recipe = read_recipe(folder / RECIPE)
    if is_own(recipe.model.name):
        clip = own_model(recipe.model, folder, list)
    else:
        clip = open_clip_model(recipe.model)
    load_weights(clip.model, folder)
    clip.provenance.update(recipe=_without_folders(recipe, clip))
    return recipe, clip


def load_weights(model: nn.Module, folder: Path) -> None:
    """Loads the weights that a run gives into the model: its best checkpoint's, or its last's."""
    state = torch.load(_given(folder), map_location="cpu", weights_only=True)["state_dict"]
    prefix = "expert_clip.model."
    model.load_state_dict(
        {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    )


def measured(folder: Path) -> dict[str, float]:
    """Returns the validation values of the weights that a run gives; {} if none were recorded."""
    given = torch.load(_given(folder), map_location="cpu", weights_only=True, mmap=True)
    return last_measured(folder, given["global_step"])


def _given(folder: Path) -> Path:
    best = folder / BEST
    return best if best.exists() else folder / CHECKPOINT


class WholeCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint whole, in the place of the one before, from one process of a run."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint; see the base class."""
        remove_drafts(Path(path))
        with written_atomically(Path(path)) as draft:
            super().save_checkpoint(checkpoint, draft, storage_options)


def _without_folders(recipe: Recipe, clip: Clip) -> JsonValue:
    """Returns the recipe for a bundle's provenance, with the last part alone of each path.

    A folder's name may name a machine or a person.
    """
    facts = json.loads(json.dumps(recipe.model_dump(), default=lambda path: path.name))
    facts["model"]["name"] = clip.provenance["open_clip_model"]
    facts["model"]["pretrained"] = clip.provenance["pretrained"]
    public: JsonValue = facts
    return public
