"""Keeps the checkpoint that validation found best, for runs that give its weights."""

import math
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback

from training.recipe import RunSpec
from training.run.record import VALIDATION


class Watched(NamedTuple):
    """A validation metric, and whether its lowest (min) or highest value (max) is best."""

    monitor: str
    mode: Literal["min", "max"]

    @classmethod
    def of(cls, run: RunSpec) -> Self:
        """Returns the metric that a recipe watches."""
        return cls(f"{VALIDATION}{run.watched}", "min" if run.watched == "loss" else "max")

    def is_better(self, value: float, other: float) -> bool:
        """Returns whether a value is better than another. A value that is not a number never is."""
        return value < other if self.mode == "min" else value > other


class KeepBest(Callback):
    """Writes a checkpoint to `path` whenever the watched metric is better than ever before.

    The best value goes into every checkpoint, so a resumed run goes on with it. Lightning's own
    ModelCheckpoint forgets it if the run's folder was moved in the meantime.
    """

    def __init__(self, path: Path, watched: Watched) -> None:
        self.path, self.watched = path, watched
        self.best = math.inf if watched.mode == "min" else -math.inf

    def on_train_epoch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,  # noqa: ARG002 — Lightning's signature
    ) -> None:
        """Compares what was measured at this checkpoint; all processes go by the first one's."""
        measured = float(trainer.callback_metrics[self.watched.monitor])
        value: float = trainer.strategy.broadcast(measured)
        if self.watched.is_better(value, self.best):
            self.best = value
            trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Returns the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the best value of the run that is resumed."""
        self.best = state_dict["best"]
