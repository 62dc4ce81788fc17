"""Sends a run's metrics to TensorBoard, W&B or MLflow. A resumed run continues its own curves."""

import os
import secrets
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from service.files import write_atomically
from training.recipe import RecipeError


def loggers(names: Sequence[str], title: str, folder: Path) -> list[Logger]:
    """Returns the loggers that a recipe names. title: what the run is called there.

    Raises RecipeError if W&B or MLflow is named but not installed.
    """
    try:
        return [_MADE[name](title, folder) for name in names]
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"a logger is not installed: {error}. Install it, or change run.loggers"
        ) from error


@rank_zero_only
def remember(names: Sequence[str], folder: Path, made: Sequence[Logger]) -> None:
    """Writes the ids under which the run is logged, so that it can be resumed there."""
    for name, logger in zip(names, made, strict=True):
        if name in ("wandb", "mlflow"):
            write_atomically(_id_file(folder, name), str(logger.version).encode())


def _tensorboard(_: str, folder: Path) -> Logger:
    return TensorBoardLogger(folder, name="", version="tensorboard")


def _wandb(title: str, folder: Path) -> Logger:
    identity = _known_id(folder, "wandb") or secrets.token_hex(4)
    return WandbLogger(name=title, save_dir=folder, version=identity)


def _mlflow(title: str, folder: Path) -> Logger:
    """Returns a logger without the telemetry that MLflow sends unless it is switched off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return MLFlowLogger(
        title,
        tracking_uri=_mlflow_server() or f"sqlite:///{folder.absolute() / 'mlflow.db'}",
        run_id=_known_id(folder, "mlflow"),
    )


@cache
def _mlflow_server() -> str | None:
    """Returns the user's MLflow server; None for a database in each run's folder.

    Read once a process: MLflow sets the variable itself as soon as it logs.
    """
    return os.environ.get("MLFLOW_TRACKING_URI")


_MADE: dict[str, Callable[[str, Path], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _known_id(folder: Path, name: str) -> str | None:
    path = _id_file(folder, name)
    return path.read_text(encoding="utf-8") if path.exists() else None


def _id_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.id"
