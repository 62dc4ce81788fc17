"""The training loop, on Lightning: any method of `training.methods` around any open_clip model.

A run advances in spans of `checkpoint_every` steps, which Lightning calls epochs: after each the
validation split is measured and a checkpoint written. What a step sees depends on its number alone
(`training.data.steps`), so a run that was stopped anywhere resumes at its last checkpoint and ends
with the weights of one that never stopped.
"""

import json
import logging
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pydantic import JsonValue
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
)
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from service.arrays import FloatArray
from service.bundle.manifest import TOKENIZER
from service.bundle.preprocess import ImageSpec
from service.bundle.tokenizer import Tokenizer
from training.curriculum import PRIMING
from training.data.experts import Experts
from training.data.pairs import Pairs, split_pairs
from training.data.shards import shard_pairs
from training.data.steps import Batch, Plan, Steps
from training.data.study import Split
from training.evaluate.geometry import alignment, modality_gap, uniformity
from training.evaluate.retrieval import image_to_report
from training.loggers import loggers, remember
from training.methods import METHODS, neighbour
from training.model.attention import NoPoolingAttention, PoolingAttention, attention_loss
from training.model.clip import (
    WITH_WEIGHTS,
    Clip,
    from_config,
    from_open_clip,
    image_spec,
    is_own,
    text_config,
)
from training.model.expert_clip import WHITE, ExpertCLIP
from training.model.heatmap import HeatmapProcessor
from training.model.tokenizer import learn
from training.objective import Contrastive, priming_loss, rank, world_size
from training.recipe import Phantoms, Recipe, RecipeError, Shards
from training.record import VALIDATION, RunRecord, write_environment

log = logging.getLogger(__name__)

RECIPE = "recipe.json"
CHECKPOINT = "last.ckpt"
MAX_LOGIT_SCALE = math.log(100)
MAX_GRADIENT = 1.0
MOST_VALIDATED = 2000
"""Validation pairs that are measured at a checkpoint; every pair is compared with every other."""
VALIDATION_BATCH = 64
BEST = f"{VALIDATION}recall@5"


class ClipTraining(lightning.LightningModule):
    """CLIP, with experts where the method has them, under AdamW (EXPERIMENT: method settings)."""

    def __init__(self, clip: Clip, recipe: Recipe, plan: Plan, validation: Pairs | None) -> None:
        super().__init__()
        self.clip, self.recipe, self.plan, self.validation = clip, recipe, plan, validation
        self.method = METHODS[recipe.method]
        self.expert_clip = ExpertCLIP(clip, _processor(clip, recipe), recipe.part)
        self.objective: Contrastive | None = None
        self._encoded: list[tuple[Tensor, Tensor]] = []

    @property
    def processor(self) -> HeatmapProcessor | None:
        """The heatmap processor, where the method has one."""
        return self.expert_clip.processor

    def setup(self, stage: str) -> None:  # noqa: ARG002 — Lightning's signature
        """Once the ranks know each other."""
        self.objective = Contrastive(self.clip.model)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Contrastive loss of one batch with its experts, and the priming of the processor."""
        assert self.objective is not None  # noqa: S101 — setup() came first
        torch.manual_seed(self.plan.torch_seed(self.global_step, rank()))
        pixels, tokens = batch.pixels, batch.tokens
        if batch.experts is not None:
            drawn, words, heatmaps, share = batch.experts
            experts = self.method.expert_pixels(self.expert_clip, drawn, heatmaps, share)
            pixels, tokens = torch.cat([pixels.float(), experts]), torch.cat([tokens, words])
        texts = self.expert_clip.texts(tokens)
        if batch.experts is not None and self.method.attends:
            images, attention = self.expert_clip.attended(pixels)
            guidance = attention_loss(attention[len(batch.pixels) :], batch.experts.heatmaps)
        else:
            images, guidance = self.expert_clip.images(pixels), None
        loss: Tensor = self.objective(images, texts, self.clip.model)
        self.log("loss", loss.detach(), prog_bar=True)
        if guidance is not None:
            self.log("attention", guidance.detach())
            loss = loss + self.recipe.expert.attention_weight * guidance
        if self._is_priming():
            loss = loss + self._priming(batch.pixels)
        return loss

    def _is_priming(self) -> bool:
        early = self.plan.progress(self.global_step) < PRIMING
        return self.method.primed and self.recipe.expert.priming_weight > 0 and early

    def _priming(self, pixels: Tensor) -> Tensor:
        """The weighted priming loss; logged as a share of the images' variance."""
        assert self.processor is not None  # noqa: S101 — a primed method has one
        levels = pixels.float() / WHITE
        error = priming_loss(self.processor, levels)
        self.log("priming", error.detach() / levels.var())
        return self.recipe.expert.priming_weight * error

    def on_train_batch_end(self, *_: Any) -> None:
        """Keep the logit scale at or below 100 (Radford et al. 2021, section 2.5)."""
        with torch.no_grad():
            self.clip.model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)

    def on_train_start(self) -> None:
        """A run that had stopped early stays stopped."""
        for stopping in self.trainer.early_stopping_callbacks:
            if stopping is not None and stopping.wait_count >= stopping.patience:
                self.trainer.should_stop = True

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Encode some validation pairs in full precision, as the exported model does."""
        pixels, tokens = batch
        with torch.autocast(self.device.type, enabled=False):
            images, texts = self.expert_clip.images(pixels), self.expert_clip.texts(tokens)
        self._encoded.append((images.cpu(), texts.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Measure what was encoded."""
        assert self.validation is not None  # noqa: S101 — without it there is no batch
        images, texts = (torch.cat(parts).numpy() for parts in zip(*self._encoded, strict=True))
        self._encoded.clear()
        values = measures(images, texts, self.validation)
        self.log_dict({f"{VALIDATION}{name}": value for name, value in values.items()})

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Towers and processor apart, so that neither takes the other's share."""
        clip_grad_norm_(self.clip.model.parameters(), MAX_GRADIENT)
        if self.processor is not None:
            clip_grad_norm_(self.processor.parameters(), MAX_GRADIENT)

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches of the current span."""
        first = self.current_epoch * self.recipe.checkpoint_every
        last = min(first + self.recipe.checkpoint_every, self.plan.steps)
        steps = Steps(self.plan, range(first, last), rank(), world_size())
        return DataLoader(steps, batch_size=None, num_workers=self.recipe.workers)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]] | list[Any]:
        """The validation pairs, all of them on every rank."""
        if self.validation is None:
            return []
        pixels = torch.from_numpy(self.validation.images[:])
        tokens = torch.from_numpy(self.clip.tokenizer(self.validation.reports).ids)
        return DataLoader(TensorDataset(pixels, tokens), batch_size=VALIDATION_BATCH)

    def configure_optimizers(self) -> Any:
        """AdamW without decay on gains, biases and the logit scale; one schedule step a batch."""
        trained = [p for p in self.expert_clip.parameters() if p.requires_grad]
        optimizer = AdamW(
            [
                {
                    "params": [p for p in trained if p.ndim >= 2],
                    "weight_decay": self.recipe.weight_decay,
                },
                {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=self.recipe.learning_rate,
            betas=(0.9, 0.98),
            eps=1e-6,
        )
        steps = self.plan.steps
        warmup = max(1, round(self.recipe.warmup * steps))
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, warmup, steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Linear rise over `warmup` steps, then a half cosine to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def measures(images: FloatArray, texts: FloatArray, pairs: Pairs) -> dict[str, float]:
    """Retrieval and geometry of unit float32[N,D] of N pairs that the model does not train on."""
    patients = [study.patient_id for study in pairs.studies]
    recalls = image_to_report(images, texts, pairs.reports, patients)
    return {f"recall@{recall.k}": recall.value for recall in recalls} | {
        "alignment": alignment(images, texts),
        "uniformity/image": uniformity(images),
        "uniformity/text": uniformity(texts),
        "modality_gap": modality_gap(images, texts),
    }


def prime(processor: HeatmapProcessor, pairs: Pairs, steps: int, seed: int) -> None:
    """Teach the processor alone that P(I, 1) is I, before a run begins."""
    optimizer: Optimizer = AdamW(processor.parameters(), lr=3e-3)
    rng = np.random.default_rng((seed, steps))
    for _ in range(steps):
        rows = rng.integers(0, len(pairs), 32)
        loss = priming_loss(processor, torch.from_numpy(pairs.images[rows]) / WHITE)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(processor.parameters(), MAX_GRADIENT)
        optimizer.step()


def fit(recipe: Recipe, run: Path) -> Clip:
    """Train in the directory `run`, resuming from its checkpoint when it holds one.

    Raises RecipeError when `run` was begun with another recipe, when the pairs fill no batch, or
    when the machine cannot do what the recipe asks.
    """
    _check_ranks(recipe)
    _check_precision(recipe)
    _check_compiled(recipe)
    _claim(run, recipe)
    lightning.seed_everything(recipe.seed)
    clip, train = _begin(recipe, run)
    _check_attention(recipe, clip)
    if len(train) < recipe.batch_size:
        raise RecipeError(f"{len(train)} training pairs do not fill a batch of {recipe.batch_size}")
    plan = _plan(recipe, train, clip.tokenizer)
    validation = _validation(recipe, clip.image, run)
    if recipe.patience is not None and validation is None:
        raise RecipeError("patience needs a validation split; set one aside")
    training = ClipTraining(clip, recipe, plan, validation)
    checkpoint = run / CHECKPOINT
    if training.processor is not None and training.method.primed and not checkpoint.exists():
        prime(training.processor, train, recipe.expert.primed_first, recipe.seed)
    if recipe.checkpoint_gradients:
        clip.model.set_grad_checkpointing(True)
    if recipe.compile:
        training.expert_clip.compile_towers()
    trainer = _trainer(recipe, run, plan)
    trainer.fit(training, ckpt_path=checkpoint if checkpoint.exists() else None)
    if recipe.ema is not None:
        _load_weights(clip.model, run)  # the average
    return clip


def image_input(recipe: Recipe) -> ImageSpec:
    """How a recipe's model takes its images."""
    if is_own(recipe.model):
        return image_spec(recipe.model).model_copy(update={"reducing_gap": recipe.reducing_gap})
    return _open_clip(recipe).image


def load_run(run: Path) -> tuple[Recipe, Clip]:
    """The recipe and the trained model of a finished or interrupted run."""
    recipe = Recipe.model_validate_json((run / RECIPE).read_text(encoding="utf-8"))
    clip = _own(recipe, (), run) if is_own(recipe.model) else _open_clip(recipe)
    _load_weights(clip.model, run)
    clip.provenance.update(recipe=_told(recipe, clip))
    return recipe, clip


def _told(recipe: Recipe, clip: Clip) -> JsonValue:
    """The recipe as a bundle tells it: of a path only the last part, as folders name people."""
    told: dict[str, JsonValue] = json.loads(
        json.dumps(recipe.model_dump(), default=lambda path: path.name)
    )
    return told | {
        "model": clip.provenance["open_clip_model"],
        "pretrained": clip.provenance["pretrained"],
    }


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the old one, then in its place: a run never has half of one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """See the base class."""
        draft = f"{path}.part"
        super().save_checkpoint(checkpoint, draft, storage_options)
        descriptor = os.open(draft, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        Path(draft).replace(path)


def _trainer(recipe: Recipe, run: Path, plan: Plan) -> lightning.Trainer:
    callbacks: list[Callback] = [
        RichProgressBar(),
        ModelCheckpoint(run, filename="last", enable_version_counter=False),
    ]
    if recipe.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=recipe.ema))
    if recipe.patience is not None:
        callbacks.append(EarlyStopping(BEST, mode="max", patience=recipe.patience))
    several = recipe.devices * recipe.nodes > 1
    watching = loggers(recipe, run)
    trainer = lightning.Trainer(
        default_root_dir=run,
        max_epochs=math.ceil(plan.steps / recipe.checkpoint_every),
        devices=recipe.devices,
        num_nodes=recipe.nodes,
        strategy="ddp_find_unused_parameters_true" if several else "auto",
        precision=recipe.precision,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        callbacks=callbacks,
        logger=[*watching, RunRecord(run)],
        enable_model_summary=False,
        plugins=[WholeCheckpoints()],
    )
    remember(recipe, run, watching)
    return trainer


def _check_ranks(recipe: Recipe) -> None:
    ranks = recipe.devices * recipe.nodes
    if TorchElasticEnvironment.detect() and TorchElasticEnvironment().world_size() != ranks:
        raise RecipeError(f"torchrun started another number than devices × nodes = {ranks}")
    if recipe.batch_size % ranks or recipe.expert.batch % ranks:
        raise RecipeError(f"{ranks} processes cannot share a batch evenly; change its size")
    if ranks > 1 and METHODS[recipe.method].view is neighbour:
        raise RecipeError("dacl mixes images of one process; train it on one")


def _check_precision(recipe: Recipe) -> None:
    if recipe.precision == "16-mixed" and not torch.accelerator.is_available():
        raise RecipeError("a CPU does not train in fp16; set precision to bf16-mixed or 32-true")


def _check_compiled(recipe: Recipe) -> None:
    if recipe.compile and METHODS[recipe.method].attends:
        raise RecipeError(f"{recipe.method} reads the tower while it runs; set compile=false")


def _check_attention(recipe: Recipe, clip: Clip) -> None:
    if METHODS[recipe.method].attends:
        try:
            PoolingAttention(clip.model.visual)
        except NoPoolingAttention as error:
            raise RecipeError(f"{recipe.method} cannot train {recipe.model}: {error}") from error


def _check_experts(recipe: Recipe, experts: Experts) -> None:
    ranks, drawn = recipe.devices * recipe.nodes, min(recipe.expert.batch, len(experts))
    if drawn % ranks:
        raise RecipeError(
            f"{ranks} processes cannot share {drawn} expert pairs evenly; change expert.batch"
        )


def _claim(run: Path, recipe: Recipe) -> None:
    """Make `run` this recipe's directory; another recipe's run is refused, never mixed in."""
    run.mkdir(parents=True, exist_ok=True)
    kept = run / RECIPE
    if not kept.exists():
        draft = run / f".{RECIPE}.{os.getpid()}"
        draft.write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
        draft.replace(kept)
    if Recipe.model_validate_json(kept.read_bytes()) != recipe:
        raise RecipeError(f"{run} holds a run of another recipe; choose another directory")
    write_environment(run)


def _begin(recipe: Recipe, run: Path) -> tuple[Clip, Pairs]:
    """The recipe's model at its start (random, pretrained, or another run's) and its pairs."""
    if is_own(recipe.model):
        train = _read(recipe, "train", image_input(recipe), run)
        clip = _own(recipe, train.reports, run)
    else:
        clip = _open_clip(recipe)
        train = _read(recipe, "train", clip.image, run)
    if recipe.start is not None:
        _load_weights(clip.model, recipe.start)
    return clip, train


def _read(recipe: Recipe, split: Split, spec: ImageSpec, run: Path) -> Pairs:
    shared = isinstance(recipe.data, Phantoms) and recipe.data.cache is not None
    sigma = recipe.expert.sigma if METHODS[recipe.method].has_experts or shared else None
    if isinstance(recipe.data, Shards):
        return shard_pairs(recipe.data.path, split, recipe.data.fractions, spec, sigma)
    return split_pairs(recipe.data, split, spec, run, sigma)


def _validation(recipe: Recipe, spec: ImageSpec, run: Path) -> Pairs | None:
    """A sample of the validation split, or None where the recipe sets none aside."""
    data = recipe.data
    share = data.validation if isinstance(data, Phantoms) else data.fractions[1]
    if not share:
        return None
    pairs = _read(recipe, "validation", spec, run)
    if not len(pairs):
        raise RecipeError("the validation split is empty; change its share, or set it to 0")
    rows = np.random.default_rng(recipe.seed).permutation(len(pairs))[:MOST_VALIDATED]
    return pairs.at(np.sort(rows))


def _plan(recipe: Recipe, train: Pairs, tokenizer: Tokenizer) -> Plan:
    method = METHODS[recipe.method]
    too_long = 100 * tokenizer(train.reports).truncated.mean()
    log.info("%.1f %% of the reports are longer than the context", too_long)
    experts = None
    if method.has_experts:
        experts = Experts.of(
            train, recipe.expert.share, method.gaze, recipe.seed, recipe.expert.misplaced
        )
        _check_experts(recipe, experts)
        log.info("%d expert studies among %d", len(experts), len(train))
    return Plan(
        pairs=train,
        experts=experts,
        tokenizer=tokenizer,
        method=method,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        expert_batch=recipe.expert.batch,
        epochs=recipe.epochs,
        augment=recipe.augment,
    )


def _own(recipe: Recipe, reports: Iterable[str], run: Path) -> Clip:
    if recipe.pretrained is not None:
        raise RecipeError(f"{recipe.model} has no pretrained weights; give a run to `start` from")
    clip = from_config(recipe.model, _tokenizer(recipe, reports, run))
    return clip.with_reducing_gap(recipe.reducing_gap)


def _open_clip(recipe: Recipe) -> Clip:
    name = recipe.model
    if not (name.startswith(WITH_WEIGHTS) or name in open_clip.list_models()):
        raise RecipeError(f"no model {name!r}, neither in training/model/configs nor in open_clip")
    try:
        return from_open_clip(name, recipe.pretrained).with_reducing_gap(recipe.reducing_gap)
    except RuntimeError as error:
        raise RecipeError(f"open_clip cannot load {name!r}: {error}") from error


def _load_weights(model: nn.Module, run: Path) -> None:
    state = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "expert_clip.model."
    model.load_state_dict(
        {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    )


def _processor(clip: Clip, recipe: Recipe) -> HeatmapProcessor | None:
    if not METHODS[recipe.method].has_processor:
        return None
    chosen = recipe.expert
    return HeatmapProcessor(
        (clip.image.height, clip.image.width),
        patch=chosen.patch,
        width=chosen.width,
        heads=chosen.heads,
        residual=chosen.residual,
    )


def _tokenizer(recipe: Recipe, reports: Iterable[str], run: Path) -> Tokenizer:
    """Kept in the run; a run that starts from another keeps that one's."""
    config = text_config(recipe.model)
    kept = run / TOKENIZER
    if not kept.exists():
        draft = run / f".{TOKENIZER}.{os.getpid()}"
        if recipe.start is not None:
            draft.write_bytes((recipe.start / TOKENIZER).read_bytes())
        else:
            learn(reports, config["vocab_size"], config["context_length"]).save(draft)
        draft.replace(kept)
    return Tokenizer.load(kept, config["context_length"])
