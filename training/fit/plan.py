"""Decides what each step of a run sees, from the seed and the step's number alone.

So a resumed run sees what the uninterrupted one would have seen, two processes (ranks) see together
what one would see alone, and all ranks agree on whether experts join.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from service.arrays import FloatArray, UInt8
from service.bundle.tokenizer import Tokenizer
from training.data.experts import Experts, draw
from training.data.pairs import Pairs
from training.data.text import fitted
from training.data.transforms import augmented
from training.recipe import ExpertSpec
from training.recipe.methods import Method, Weighting

DACL_ALPHA = 0.6
"""α of λ ~ Beta(α, α), the weight of an image in its mixtures with others of the batch."""
LEAST_ORIGINAL = 0.5
"""Least λ of DACL, so that the original dominates: λ ~ U(0.5, 1)."""
_JOIN, _EXPERTS, _WEIGHT, _AUGMENT, _TEXT, _TOWERS, _MIX = range(1, 8)
Rows = npt.NDArray[np.intp]


class ExpertBatch(NamedTuple):
    """The expert pairs of a step.

    pixels: uint8[E,H,W]; tokens: int64[E,L]; heatmaps: float32[E,H,W]; weight: λ, float32[E].
    """

    pixels: Tensor
    tokens: Tensor
    heatmaps: Tensor
    weight: Tensor


class Mixing(NamedTuple):
    """How the images of a step are mixed with others of it, twice (Verma et al. 2021, DACL).

    partners: int64[2,B], places among all pairs of the step; weight: λ of the image, float[2,B].
    """

    partners: Tensor
    weight: Tensor


class Batch(NamedTuple):
    """The pairs of a step. pixels: uint8[B,H,W]; tokens: int64[B,L]; experts: None if none join.

    mixing: None unless the method mixes.
    """

    pixels: Tensor
    tokens: Tensor
    experts: ExpertBatch | None
    mixing: Mixing | None = None


@dataclass(frozen=True)
class Plan:
    """All that decides what the steps of a run see. Batch sizes are over all ranks."""

    pairs: Pairs
    experts: Experts | None
    tokenizer: Tokenizer
    method: Method
    seed: int
    batch_size: int
    expert: ExpertSpec
    epochs: int
    augment: bool = False

    def __deepcopy__(self, _: Any) -> Self:
        """Returns the plan itself: nothing changes it, so a copied trainer may share it."""
        return self

    @property
    def steps_an_epoch(self) -> int:
        """Full batches in one pass over the pairs."""
        return len(self.pairs) // self.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_an_epoch

    def progress(self, step: int) -> float:
        """Returns how far the run is at a step, 0…1."""
        return step / self.steps

    def experts_join(self, step: int) -> bool:
        """Returns whether expert pairs join the batch of this step."""
        if self.experts is None:
            return False
        probability = self.method.schedule(self.progress(step))
        return bool(self._rng(_JOIN, step).random() < probability)

    def rows(self, step: int) -> Rows:
        """Returns the pairs of a step, int[batch_size]. Each pair is seen once an epoch."""
        epoch, place = divmod(step, self.steps_an_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.pairs))
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def torch_seed(self, step: int, rank: int) -> int:
        """Returns the seed of what the towers draw at a step (dropout), another for each rank."""
        return int(self._rng(_TOWERS, step, rank).integers(2**63))

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Returns one rank's part of a step's batch."""
        rows = self.rows(step)[rank::world_size]
        placed = self._placed(rows, [None] * len(rows), step)
        pixels = np.stack([image for image, _ in placed])
        experts = self._expert_batch(step, rank, world_size) if self.experts_join(step) else None
        mixing = self._mixing(step, rank, world_size) if self.method.mixes else None
        return Batch(torch.from_numpy(pixels), self._tokens(rows, step), experts, mixing)

    def _mixing(self, step: int, rank: int, world_size: int) -> Mixing:
        rng = self._rng(_MIX, step)
        partners = np.stack([rng.permutation(self.batch_size) for _ in range(2)])
        weight = rng.beta(DACL_ALPHA, DACL_ALPHA, partners.shape).astype(np.float32)
        mine = slice(rank, None, world_size)
        return Mixing(torch.from_numpy(partners[:, mine]), torch.from_numpy(weight[:, mine]))

    def _expert_batch(self, step: int, rank: int, world_size: int) -> ExpertBatch:
        assert self.experts is not None  # noqa: S101 — experts_join says so
        chosen = draw(self._rng(_EXPERTS, step), self.experts, self.expert.batch)
        weight = draw_weight(
            self.method.weighting, self._rng(_WEIGHT, step), len(chosen), self.expert
        )
        mine = chosen[rank::world_size]
        rows = self.experts.rows[mine]
        placed = self._placed(rows, list(self.experts.heatmaps[mine]), step)
        pixels = np.stack([image for image, _ in placed])
        heatmaps = np.stack([heatmap for _, heatmap in placed if heatmap is not None])
        return ExpertBatch(
            torch.from_numpy(pixels),
            self._tokens(rows, step),
            torch.from_numpy(heatmaps.astype(np.float32) / 255),
            torch.from_numpy(weight[rank::world_size]),
        )

    def _placed(
        self, rows: Rows, heatmaps: Sequence[UInt8 | None], step: int
    ) -> list[tuple[UInt8, UInt8 | None]]:
        """Returns the images of some pairs and their heatmaps, augmented alike if asked."""
        images = self.pairs.images[rows]
        if not self.augment:
            return list(zip(images, heatmaps, strict=True))
        return [
            augmented(image, heatmap, self._rng(_AUGMENT, step, row))
            for image, heatmap, row in zip(images, heatmaps, rows.tolist(), strict=True)
        ]

    def _tokens(self, rows: Rows, step: int) -> Tensor:
        reports = [self.pairs.studies[row].report for row in rows]
        rngs = [self._rng(_TEXT, step, row) for row in rows.tolist()]
        return torch.from_numpy(self.tokenizer(fitted(reports, self.tokenizer, rngs)).ids)

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *place))


def draw_weight(
    weighting: Weighting, rng: np.random.Generator, count: int, expert: ExpertSpec
) -> FloatArray:
    """Draws λ, the weight of the original in the mix, for `count` expert images: float32[count]."""
    drawn = _WEIGHTS[weighting](rng, 1 if expert.one_weight else count, expert.alpha)
    return np.broadcast_to(drawn.astype(np.float32), count).copy()


_WEIGHTS: dict[Weighting, Callable[[np.random.Generator, int, float], npt.NDArray[np.float64]]] = {
    "beta": lambda rng, count, alpha: rng.beta(alpha, alpha, count),
    "dominant": lambda rng, count, _: rng.uniform(LEAST_ORIGINAL, 1.0, count),
    "original": lambda _, count, __: np.ones(count),
    "expert": lambda _, count, __: np.zeros(count),
}


class Steps(Dataset[Batch]):
    """One rank's batches of some consecutive steps, as a data set."""

    def __init__(self, plan: Plan, steps: Sequence[int], rank: int, world_size: int) -> None:
        self.plan, self.steps, self.rank, self.world_size = plan, steps, rank, world_size

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Batch:
        return self.plan.batch(self.steps[index], self.rank, self.world_size)
