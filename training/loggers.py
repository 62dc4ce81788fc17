"""Where a run is watched: TensorBoard, W&B or MLflow; a resumed run goes on in its own curves."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from training.recipe import Recipe, RecipeError

MLFLOW_SERVER = os.environ.get("MLFLOW_TRACKING_URI")
"""As the user set it; without one, a run has a database of its own. MLflow sets it anew later."""


def loggers(recipe: Recipe, run: Path) -> list[Logger]:
    """The recipe's loggers; W&B and MLflow must have been installed by who asks for them."""
    try:
        return [_MADE[name](recipe, run) for name in recipe.loggers]
    except ModuleNotFoundError as error:
        raise RecipeError(f"a logger is not installed: {error}") from error


@rank_zero_only
def remember(recipe: Recipe, run: Path, made: list[Logger]) -> None:
    """Keep the ids under which the run is watched, for when it is resumed."""
    for name, logger in zip(recipe.loggers, made, strict=True):
        if name in ("wandb", "mlflow"):
            _id_file(run, name).write_text(str(logger.version), encoding="utf-8")


def _tensorboard(_: Recipe, run: Path) -> Logger:
    return TensorBoardLogger(run, name="", version="tensorboard")


def _wandb(recipe: Recipe, run: Path) -> Logger:
    identity = _known_id(run, "wandb") or secrets.token_hex(4)
    return WandbLogger(name=recipe.name, save_dir=run, version=identity)


def _mlflow(recipe: Recipe, run: Path) -> Logger:
    """Without the telemetry that MLflow sends unless it is told not to."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return MLFlowLogger(
        recipe.name,
        tracking_uri=MLFLOW_SERVER or f"sqlite:///{run.absolute() / 'mlflow.db'}",
        run_id=_known_id(run, "mlflow"),
    )


_MADE: dict[str, Callable[[Recipe, Path], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _known_id(run: Path, name: str) -> str | None:
    kept = _id_file(run, name)
    return kept.read_text(encoding="utf-8") if kept.exists() else None


def _id_file(run: Path, name: str) -> Path:
    return run / f"{name}.id"
