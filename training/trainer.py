"""The training loop: plain CLIP on Lightning, resumable at every epoch's end.

The order of the data in epoch e depends on (seed, e) alone, so a resumed run sees what the
uninterrupted one would have seen.
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from service.bundle.manifest import TOKENIZER
from service.bundle.tokenizer import Tokenizer
from training.data.pairs import Pairs, split_pairs
from training.model.clip import Clip, from_config, image_spec, text_config
from training.model.pixels import NormalisePixels
from training.model.tokenizer import learn
from training.objective import Contrastive
from training.recipe import Recipe, RecipeError

log = logging.getLogger(__name__)

RECIPE = "recipe.json"
CHECKPOINT = "last.ckpt"
MAX_LOGIT_SCALE = math.log(100)


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """One epoch of pixels uint8[B,H,W] and tokens int64[B,L], ordered by (seed, epoch)."""

    def __init__(self, pairs: Pairs, tokenizer: Tokenizer, recipe: Recipe, epoch: int) -> None:
        self.pixels = torch.from_numpy(pairs.images)
        self.tokens = torch.from_numpy(tokenizer(pairs.reports).ids)
        self.order = np.random.default_rng((recipe.seed, epoch)).permutation(len(pairs))
        self.batch_size = recipe.batch_size

    def __len__(self) -> int:
        return len(self.order) // self.batch_size

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        return self.pixels[chosen], self.tokens[chosen]


class ClipTraining(lightning.LightningModule):
    """CLIP under AdamW with linear warm-up and cosine decay (EXPERIMENT: method settings)."""

    def __init__(self, clip: Clip, recipe: Recipe, train: Pairs) -> None:
        super().__init__()
        self.clip, self.recipe, self.train_pairs = clip, recipe, train
        self.model = clip.model
        self.normalise = NormalisePixels(clip.normalisation)
        self.objective = Contrastive()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Contrastive loss of one batch."""
        pixels, tokens = batch
        images = functional.normalize(self.model.encode_image(self.normalise(pixels)), dim=-1)
        texts = functional.normalize(self.model.encode_text(tokens), dim=-1)
        loss: Tensor = self.objective(images, texts, self.model.logit_scale.exp())
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the logit scale at or below 100 (Radford et al. 2021, section 2.5)."""
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The batches of the current epoch."""
        epoch = Batches(self.train_pairs, self.clip.tokenizer, self.recipe, self.current_epoch)
        return DataLoader(epoch, batch_size=None)

    def configure_optimizers(self) -> Any:
        """AdamW without decay on gains, biases and the logit scale; one schedule step a batch."""
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        plain = [p for p in self.model.parameters() if p.ndim < 2]
        optimizer = AdamW(
            [
                {"params": decayed, "weight_decay": self.recipe.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.recipe.learning_rate,
            betas=(0.9, 0.98),
            eps=1e-6,
        )
        steps = self.recipe.epochs * (len(self.train_pairs) // self.recipe.batch_size)
        warmup = max(1, round(self.recipe.warmup * steps))
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, warmup, steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Linear rise over `warmup` steps, then a half cosine to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def fit(recipe: Recipe, run: Path) -> Clip:
    """Train in the directory `run`, resuming from its checkpoint when it holds one.

    Raises RecipeError when `run` was begun with another recipe, or when the pairs fill no batch.
    """
    _claim(run, recipe)
    lightning.seed_everything(recipe.seed)
    train = split_pairs(recipe.data, "train", image_spec(recipe.model), run)
    if len(train) < recipe.batch_size:
        raise RecipeError(f"{len(train)} training pairs do not fill a batch of {recipe.batch_size}")
    tokenizer = _tokenizer(recipe, train, run)
    log.info(
        "%.1f %% of the reports are truncated", 100 * tokenizer(train.reports).truncated.mean()
    )
    training = ClipTraining(from_config(recipe.model, tokenizer), recipe, train)
    trainer = lightning.Trainer(
        default_root_dir=run,
        max_epochs=recipe.epochs,
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=1.0,
        log_every_n_steps=10,
        callbacks=[
            RichProgressBar(),
            ModelCheckpoint(run, filename="last", enable_version_counter=False),
        ],
        logger=TensorBoardLogger(run, name="", version="tensorboard"),
        enable_model_summary=False,
    )
    checkpoint = run / CHECKPOINT
    trainer.fit(training, ckpt_path=checkpoint if checkpoint.exists() else None)
    return training.clip


def load_run(run: Path) -> tuple[Recipe, Clip]:
    """The recipe and the trained model of a finished or interrupted run."""
    recipe = Recipe.model_validate_json((run / RECIPE).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.load(run / TOKENIZER, text_config(recipe.model)["context_length"])
    clip = from_config(recipe.model, tokenizer)
    state = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
    clip.model.load_state_dict(
        {key.removeprefix("model."): v for key, v in state.items() if key.startswith("model.")}
    )
    clip.provenance.update(recipe=recipe.model_dump(mode="json"))
    return recipe, clip


def _claim(run: Path, recipe: Recipe) -> None:
    """Make `run` this recipe's directory; another recipe's run is refused, never mixed in."""
    run.mkdir(parents=True, exist_ok=True)
    text = recipe.model_dump_json(indent=1)
    if (run / RECIPE).exists() and (run / RECIPE).read_text(encoding="utf-8") != text:
        raise RecipeError(f"{run} holds a run of another recipe; choose another directory")
    (run / RECIPE).write_text(text, encoding="utf-8")


def _tokenizer(recipe: Recipe, train: Pairs, run: Path) -> Tokenizer:
    config = text_config(recipe.model)
    if not (run / TOKENIZER).exists():
        learn(train.reports, config["vocab_size"], config["context_length"]).save(run / TOKENIZER)
    return Tokenizer.load(run / TOKENIZER, config["context_length"])
