"""Defines one training step, its optimiser and what is measured at a checkpoint, for Lightning.

An epoch of Lightning is here the span of `run.checkpoint_every` steps up to the next checkpoint. An
epoch of a recipe is one pass over the training pairs.
"""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from service.arrays import FloatArray
from training.data.pairs import Pairs
from training.evaluate.geometry import alignment, modality_gap, uniformity
from training.evaluate.retrieval import image_to_report
from training.fit.objective import Contrastive, gathered, priming_loss, rank, world_size
from training.fit.plan import Batch, Mixing, Plan, Steps
from training.model.attention import attention_loss
from training.model.clip import Clip
from training.model.expert_clip import ExpertCLIP, mixup, with_experts
from training.model.heatmap import HeatmapProcessor
from training.model.views import expert_pixels
from training.recipe import ExpertSpec, OptimiserSpec, RecipeError, RunSpec
from training.recipe.curriculum import PRIMING
from training.run.record import VALIDATION

MAX_LOGIT_SCALE = math.log(100)
"""Natural logarithm of the largest factor on cosines. The model learns the logarithm."""
MAX_GRADIENT = 1.0
"""Norm to which the gradients of the towers, and those of the processor, are clipped."""
VALIDATION_BATCH = 64
"""Validation pairs encoded in one call."""


class ClipTraining(lightning.LightningModule):
    """CLIP under AdamW, with expert pairs (images with gaze) if the plan's method has them.

    plan: which pairs each step sees. validation: pairs that are measured at each checkpoint, or
    None. optimiser, run: these sections of the recipe.
    """

    def __init__(
        self,
        clip: Clip,
        plan: Plan,
        validation: Pairs | None,
        optimiser: OptimiserSpec,
        run: RunSpec,
    ) -> None:
        super().__init__()
        self.clip, self.plan, self.validation = clip, plan, validation
        self.optimiser, self.run = optimiser, run
        self.method, self.expert = plan.method, plan.expert
        processor = _processor(clip, plan.expert) if self.method.has_processor else None
        self.expert_clip = ExpertCLIP(clip, processor, run.part)
        self.objective: Contrastive | None = None
        self._encoded: list[tuple[Tensor, Tensor]] = []
        self._temperature = _temperature(clip.model)

    @property
    def processor(self) -> HeatmapProcessor | None:
        """The heatmap processor, if the method has one."""
        return self.expert_clip.processor

    def setup(self, stage: str) -> None:  # noqa: ARG002 — Lightning's signature
        """Makes the loss, once the training processes are connected and each has its rank."""
        self.objective = Contrastive(self.clip.model)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Returns the loss: contrastive, plus what the method and the step add.

        Expert pairs join the batch as further pairs. Guided attention compares where the tower
        pools on them with their heatmaps; mixing contrasts two mixtures of each image; priming
        teaches the processor P(I, 1) = I.
        """
        assert self.objective is not None  # noqa: S101 — setup() came first
        torch.manual_seed(self.plan.torch_seed(self.global_step, rank()))
        pixels, tokens = batch.pixels, batch.tokens
        if batch.experts is not None:
            drawn, words, heatmaps, weight = batch.experts
            view = self.method.view
            experts = expert_pixels(view, self.expert_clip, drawn, heatmaps, weight)
            pixels, tokens = with_experts(pixels, experts), torch.cat([tokens, words])
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
            loss = loss + self.expert.attention_weight * guidance
        if batch.mixing is not None:
            loss = loss + self._contrast_of_mixtures(batch.pixels, batch.mixing)
        if self._is_priming():
            loss = self.expert.priming_contrast * loss + self._priming(batch.pixels)
        return loss

    def _contrast_of_mixtures(self, pixels: Tensor, mixing: Mixing) -> Tensor:
        """Returns the loss that pairs two mixtures of each image with others of the step; logs it.

        Verma et al. 2021 (DACL). The images' weights λ and partners are the plan's.
        """
        assert self.objective is not None  # noqa: S101 — setup() came first
        everyone = gathered(pixels).float()
        views = [
            self.expert_clip.images(mixup(pixels, everyone[partners], weight))
            for partners, weight in zip(*mixing, strict=True)
        ]
        loss: Tensor = self.objective(*views, self.clip.model)
        self.log("mixtures", loss.detach())
        return loss

    def _is_priming(self) -> bool:
        early = self.plan.progress(self.global_step) < PRIMING
        return self.method.primed and self.expert.priming_weight > 0 and early

    def _priming(self, pixels: Tensor) -> Tensor:
        """Returns the weighted priming loss; logs it as a fraction of the pixels' variance."""
        assert self.processor is not None  # noqa: S101 — a primed method has one
        images = self.expert_clip.processor_input(pixels)
        error = priming_loss(self.processor, images)
        self.log("priming", error.detach() / images.var())
        return self.expert.priming_weight * error

    def on_train_batch_end(self, *_: Any) -> None:
        """Keeps the logit scale at or below 100 (Radford et al. 2021, section 2.5)."""
        with torch.no_grad():
            self.clip.model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)

    def on_train_start(self) -> None:
        """Ends a resumed run at once if it had already stopped early (`run.patience`)."""
        for stopping in self.trainer.early_stopping_callbacks:
            if stopping is not None and stopping.wait_count >= stopping.patience:
                self.trainer.should_stop = True

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Encodes a batch of validation pairs in full precision, as the exported model does."""
        pixels, tokens = batch
        with torch.autocast(self.device.type, enabled=False):
            images, texts = self.expert_clip.images(pixels), self.expert_clip.texts(tokens)
        self._encoded.append((images.cpu(), texts.cpu()))
        self._temperature = _temperature(self.clip.model)  # an average may be gone at the end

    def on_validation_epoch_end(self) -> None:
        """Measures and logs the encoded validation pairs, all together."""
        assert self.validation is not None  # noqa: S101 — without it there is no batch
        images, texts = (torch.cat(parts).numpy() for parts in zip(*self._encoded, strict=True))
        self._encoded.clear()
        values = measures(images, texts, self.validation)
        values["loss"] = validation_loss(
            images, texts, self._temperature, self.optimiser.batch_size
        )
        self.log_dict({f"{VALIDATION}{name}": value for name, value in values.items()})

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clips towers and processor apart: one's large gradients do not shrink the other's."""
        clip_grad_norm_(self.clip.model.parameters(), MAX_GRADIENT)
        if self.processor is not None:
            clip_grad_norm_(self.processor.parameters(), MAX_GRADIENT)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Returns the batches up to the next checkpoint."""
        first = self.current_epoch * self.run.checkpoint_every
        last = min(first + self.run.checkpoint_every, self.plan.steps)
        steps = Steps(self.plan, range(first, last), rank(), world_size())
        return DataLoader(steps, batch_size=None, num_workers=self.run.workers)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]] | list[Any]:
        """Returns the validation pairs: all in every process, as recall compares all with all."""
        if self.validation is None:
            return []
        pixels = torch.from_numpy(self.validation.images[:])
        assert self.clip.tokenizer is not None  # noqa: S101 — a recipe names no model of images alone
        tokens = torch.from_numpy(self.clip.tokenizer(self.validation.reports).ids)
        return DataLoader(TensorDataset(pixels, tokens), batch_size=VALIDATION_BATCH)

    def configure_optimizers(self) -> Any:
        """Returns AdamW and its schedule.

        Weight decay leaves out vectors and scalars: biases, gains of normalisation, logit scale.
        """
        optimizer = AdamW(
            self._groups(), lr=self.optimiser.learning_rate, betas=(0.9, 0.98), eps=1e-6
        )
        steps = self.plan.steps
        warmup = max(1, round(self.optimiser.warmup * steps))
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, warmup, steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def _groups(self) -> list[dict[str, Any]]:
        """Returns the trained weights by weight decay and, where it differs, learning rate."""
        trained = {n: p for n, p in self.expert_clip.named_parameters() if p.requires_grad}
        rates = {
            name: self.expert.processor_rate if name.startswith("processor.") else 1.0
            for name in trained
        }
        return [
            {
                "params": [p for n, p in trained.items() if (p.ndim >= 2, rates[n]) == group],
                "weight_decay": self.optimiser.weight_decay if group[0] else 0.0,
                "lr": group[1] * self.optimiser.learning_rate,
            }
            for group in itertools.product((True, False), sorted(set(rates.values())))
        ]


def learning_rate_factor(step: int, warmup: int, steps: int) -> float:
    """Returns the factor on the learning rate.

    It rises linearly over `warmup` steps, then falls as a half cosine to 0 at `steps`.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def measures(images: FloatArray, texts: FloatArray, pairs: Pairs) -> dict[str, float]:
    """Returns retrieval and geometry of N pairs, from their unit vectors float32[N,D]."""
    patients = [study.patient_id for study in pairs.studies]
    recalls = image_to_report(images, texts, pairs.reports, patients)
    return {f"recall@{recall.k}": recall.value for recall in recalls} | {
        "alignment": alignment(images, texts),
        "uniformity/image": uniformity(images),
        "uniformity/text": uniformity(texts),
        "modality_gap": modality_gap(images, texts),
    }


def validation_loss(images: FloatArray, texts: FloatArray, model: Any, batch_size: int) -> float:
    """Returns the mean contrastive loss of N pairs in batches of the training's size.

    images, texts: unit vectors float32[N,D]. model: gives the loss its logit scale and bias. A last
    batch that is not full is left out, as it is in training, unless it is the only one.
    """
    objective = Contrastive(model, alone=True)
    pairs = [torch.from_numpy(each).to(model.logit_scale.device) for each in (images, texts)]
    starts = range(0, max(1, len(images) - batch_size + 1), batch_size)
    losses = [objective(*(each[at : at + batch_size] for each in pairs), model) for at in starts]
    return float(torch.stack(losses).mean())


def _temperature(model: Any) -> SimpleNamespace:
    """Returns a copy of a model's logit scale and bias, under the names that the model has."""
    bias = getattr(model, "logit_bias", None)
    return SimpleNamespace(
        logit_scale=model.logit_scale.detach().clone(),
        logit_bias=None if bias is None else bias.detach().clone(),
    )


def _processor(clip: Clip, expert: ExpertSpec) -> HeatmapProcessor:
    try:
        return HeatmapProcessor(
            (clip.image.height, clip.image.width),
            patch=expert.patch,
            width=expert.width,
            heads=expert.heads,
            residual=expert.residual,
            published=expert.processor == "published",
        )
    except ValueError as error:
        raise RecipeError(f"{error}; change expert.patch, expert.width or expert.heads") from error
