"""Defines the sections of a recipe that say how its data are learned from."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from service.bundle.preprocess import ReducingGap
from training.data.gaze import Sigma
from training.data.spec import FrozenSpec


class PixelStatistics(FrozenSpec):
    """Mean and standard deviation of pixels, on the scale 0…1, alike in all three channels."""

    mean: Annotated[float, Field(ge=0, le=1)]
    std: Annotated[float, Field(gt=0, le=1)]


class ModelSpec(FrozenSpec):
    """The `model` section: which model, and with which weights it begins."""

    name: str
    """A config of training/model/configs, whose tokenizer is learned from the training reports, or
    a model of open_clip with its own tokenizer."""
    pretrained: str | None = None
    """Weights for an open_clip model: a tag of open_clip, or the path of a checkpoint."""
    start: Path | None = None
    """Folder of a finished run of the same model, to begin with its weights (eCLIP^P)."""
    pixels: PixelStatistics | None = None
    """Statistics by which pixels are normalised, in training and in the bundle. None: the model's
    own."""
    reducing_gap: ReducingGap | None = None
    """Shrink large images before decoding them in full, in training and in the bundle; see
    `service.bundle.preprocess.ImageSpec`."""


class ExpertSpec(FrozenSpec):
    """The `expert` section: the studies with gaze, how they join, and the processor."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fraction of the training studies with gaze that are experts, chosen by hash."""
    batch: PositiveInt = 16
    """Expert pairs of a step in which they join, over all processes."""
    curriculum_end: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Probability that experts join from 80 % of the training on, for methods with the
    curriculum."""
    alpha: PositiveFloat = 0.3
    """α of λ ~ Beta(α, α), the weight of the original image in the mix with its expert image, for
    methods that draw it so. Small values keep λ near 0 or 1."""
    one_weight: bool = False
    """Draw one λ a step, for all its expert pairs. False: one for each of them."""
    sigma: Sigma = Sigma(1.0, "degree")
    """Spread of a fixation in a heatmap."""
    processor: Literal["published", "adapted"] = "adapted"
    """published: the processor reads and writes three normalised channels, its patches have no
    position, and the largest value of the batch scales all its heatmaps. adapted: one channel in
    0…1, a learned position for each patch, and each heatmap is scaled by itself; so no image
    depends on the others of its batch."""
    processor_rate: PositiveFloat = 1.0
    """Factor on `optimiser.learning_rate` for the processor."""
    patch: PositiveInt = 16
    """Pixels a side of one patch of the processor."""
    width: PositiveInt = 256
    heads: PositiveInt = 4
    residual: bool = False
    """Begin as the identity. False: as published."""
    priming_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the priming loss, the error of P(I, 1) = I in the processor's own channels."""
    priming_contrast: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the contrastive loss while the processor is primed. Afterwards it is 1."""
    attention_weight: PositiveFloat = 0.3
    """Weight of the divergence of the tower's attention from gaze, for methods that guide it."""
    misplaced: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of the experts that carry another expert's gaze, for a dose-response."""
    primed_first: Annotated[int, Field(ge=0)] = 0
    """Steps before the run in which the processor alone learns P(I, 1) = I. Published: none."""


class OptimiserSpec(FrozenSpec):
    """The `optimiser` section: how long, in which batches and how fast the weights are learned."""

    epochs: PositiveInt
    batch_size: PositiveInt
    """Pairs of a step, over all processes."""
    learning_rate: PositiveFloat
    weight_decay: float
    warmup: Annotated[float, Field(ge=0, lt=1)]
    """Fraction of all steps over which the learning rate rises linearly."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of a moving average of the weights. Validation then measures the average, and the run
    gives it."""


class RunSpec(FrozenSpec):
    """The `run` section: how the training runs on this machine."""

    checkpoint_every: PositiveInt = 100
    """Steps between two checkpoints. At each, the validation split is measured."""
    watched: Literal["recall@5", "loss"] = "recall@5"
    """Validation measure by which a checkpoint is better than another: a higher recall of reports
    by image, or a lower loss."""
    patience: PositiveInt | None = None
    """Checkpoints without a better `watched` after which the run stops."""
    weights: Literal["last", "best"] = "last"
    """Weights that the run gives: those of its last checkpoint, or of the one with the best
    `watched`, which is kept as best.ckpt."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    devices: PositiveInt = 1
    """Processes on each node; under torchrun, as many as it started."""
    nodes: PositiveInt = 1
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches, for each training process."""
    part: PositiveInt | None = None
    """Items encoded at a time, for batches that do not fit into memory; the gradient is the whole
    batch's."""
    checkpoint_gradients: bool = False
    """Compute activations twice to save memory."""
    compile: bool = False
    """Compile the towers with torch.compile."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
