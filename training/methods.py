"""The arms of the experiment: what a run does with its expert studies, as small strategies.

All arms share weights, data order, steps and expert studies. A method says how often experts join
(`schedule`), whose gaze they carry (`gaze`), how much of the original image stays (`share`), with
what it is mixed (`view`), and whether gaze guides the tower's own attention (`attends`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from service.arrays import FloatArray, UInt8
from training.curriculum import ALWAYS, CURRICULUM, HALF, NEVER, Schedule
from training.model.expert_clip import ExpertCLIP, mixup
from training.model.heatmap import normalised

ALPHA = 0.3
"""λ ~ Beta(α, α) of the published mixup."""
HARD_LEVEL = 0.2
"""A hard mask keeps what has at least this share of the heatmap's peak."""
LEAST_ORIGINAL = 0.5
"""DACL mixes in other images so that the own one dominates: λ ~ U(0.5, 1)."""

Share = Callable[[np.random.Generator, int], FloatArray]
View = Callable[[ExpertCLIP, Tensor, Tensor], Tensor]
Gaze = Literal["own", "shuffled", "mean", "lesions"]


def beta_share(rng: np.random.Generator, count: int) -> FloatArray:
    """λ ~ Beta(α, α), float32[count]."""
    return rng.beta(ALPHA, ALPHA, count).astype(np.float32)


def dominant_share(rng: np.random.Generator, count: int) -> FloatArray:
    """λ ~ U(0.5, 1), float32[count]."""
    return rng.uniform(LEAST_ORIGINAL, 1.0, count).astype(np.float32)


def all_original(_: np.random.Generator, count: int) -> FloatArray:
    """λ = 1, float32[count]."""
    return np.ones(count, np.float32)


def all_expert(_: np.random.Generator, count: int) -> FloatArray:
    """λ = 0, float32[count]."""
    return np.zeros(count, np.float32)


def processed(model: ExpertCLIP, pixels: Tensor, heatmaps: Tensor) -> Tensor:
    """P(I, h)."""
    return model.experts(pixels, heatmaps)


def masked(_: ExpertCLIP, pixels: Tensor, heatmaps: Tensor) -> Tensor:
    """The image where the reader looked, black elsewhere."""
    return pixels * (normalised(heatmaps) >= HARD_LEVEL)


def untouched(_: ExpertCLIP, pixels: Tensor, __: Tensor) -> Tensor:
    """The image itself."""
    return pixels.float()


def neighbour(_: ExpertCLIP, pixels: Tensor, __: Tensor) -> Tensor:
    """Another image of the batch (Verma et al. 2021, DACL)."""
    return pixels.roll(1, dims=0).float()


@dataclass(frozen=True, slots=True)
class Method:
    """One arm. `primed`: the processor learns P(I, 1) = I at first. `attends`: where the tower
    looks on expert images is drawn towards their heatmaps.
    """

    name: str
    schedule: Schedule
    share: Share = beta_share
    view: View = processed
    gaze: Gaze = "own"
    primed: bool = True
    attends: bool = False

    @property
    def has_experts(self) -> bool:
        """Whether expert pairs ever join."""
        return self.schedule is not NEVER

    @property
    def has_processor(self) -> bool:
        """Whether the arm needs a heatmap processor at all."""
        return self.view is processed and self.has_experts

    def expert_pixels(
        self, model: ExpertCLIP, pixels: Tensor, heatmaps: Tensor, share: Tensor
    ) -> Tensor:
        """The expert images, float[N,H,W]; heatmaps: float[N,H,W], share: float[N]."""
        return mixup(pixels, self.view(model, pixels, heatmaps), share)


ECLIP = Method("eclip", CURRICULUM)
GAZE_ATTENTION = Method(
    "gaze_attention", ALWAYS, all_original, untouched, primed=False, attends=True
)
"""Ours, not the paper's: expert images stay as they are; the tower pools where readers looked.

What we recommend where there is gaze; why, and what not to expect of it:
training/experiments/phantom_gaze/README.md.
"""
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("clip", NEVER, primed=False),
        Method("duplicate", CURRICULUM, share=all_original),
        Method("naive", ALWAYS, share=all_expert),
        Method("dacl", CURRICULUM, share=dominant_share, view=neighbour, primed=False),
        replace(ECLIP, name="mean_gaze", gaze="mean"),
        replace(ECLIP, name="shuffled_gaze", gaze="shuffled"),
        ECLIP,
        replace(ECLIP, name="eclip_no_curriculum", schedule=HALF),
        replace(ECLIP, name="eclip_no_priming", primed=False),
        replace(ECLIP, name="eclip_hard_mask", view=masked, primed=False),
        replace(ECLIP, name="oracle", gaze="lesions"),
        GAZE_ATTENTION,
        replace(GAZE_ATTENTION, name="duplicate_always", attends=False),
        replace(GAZE_ATTENTION, name="shuffled_attention", gaze="shuffled"),
        replace(GAZE_ATTENTION, name="mean_attention", gaze="mean"),
        replace(GAZE_ATTENTION, name="oracle_attention", gaze="lesions"),
    )
}


def assigned(heatmaps: UInt8, gaze: Gaze, rng: np.random.Generator) -> UInt8:
    """The heatmaps uint8[N,H,W] of N expert studies, as an arm's experts carry them.

    shuffled: each study gets another's, by one random cycle. mean: all get the population's mean.
    own, lesions: as they are (the data set decides which of the two it gives).
    """
    if gaze == "shuffled":
        cycle = rng.permutation(len(heatmaps))
        shuffled = np.empty_like(heatmaps)
        shuffled[cycle] = heatmaps[np.roll(cycle, 1)]
        return shuffled
    if gaze == "mean":
        mean = np.rint(heatmaps.mean(axis=0)).astype(np.uint8)
        return np.broadcast_to(mean, heatmaps.shape)
    return heatmaps


def draw_share(method: Method, rng: np.random.Generator, count: int) -> Tensor:
    """λ of `count` expert images, float32[count]."""
    return torch.from_numpy(method.share(rng, count))
