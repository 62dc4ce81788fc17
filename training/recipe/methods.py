"""Lists the methods, the arms of the experiment: what a run does with its expert studies.

All methods share weights, data order, steps and expert studies. A method says how often experts
join the batch, whose gaze they carry, how their images are changed and mixed with the originals,
and whether gaze guides the tower's own attention. This table holds names alone; `training.fit.plan`
draws λ and `training.model.views` changes the images.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

from training.data.experts import GazeSource
from training.recipe.curriculum import ALWAYS, CURRICULUM, HALF, NEVER, Schedule, curriculum

Weighting = Literal["beta", "dominant", "original", "expert"]
"""How λ, the weight of the original image in the mix, is drawn.

beta: λ ~ Beta(α, α) with the recipe's `expert.alpha`, as published. dominant: λ ~ U(0.5, 1), so
that the original dominates (DACL). original: λ = 1. expert: λ = 0.
"""
ViewName = Literal["processed", "masked", "untouched", "neighbour"]
"""What the original is mixed with; the functions are in `training.model.views`."""


@dataclass(frozen=True, slots=True)
class Method:
    """One arm.

    schedule: how often experts join. primed: the processor first learns P(I, 1) = I. attends: the
    tower's attention on expert images is drawn towards their heatmaps. mixes: two mixtures of every
    image with others of its batch are contrasted with each other.
    """

    name: str
    schedule: Schedule
    weighting: Weighting = "beta"
    view: ViewName = "processed"
    gaze: GazeSource = "own"
    primed: bool = True
    attends: bool = False
    mixes: bool = False

    @property
    def has_experts(self) -> bool:
        """Whether expert pairs ever join."""
        return self.schedule is not NEVER

    @property
    def has_processor(self) -> bool:
        """Whether the arm needs a heatmap processor."""
        return self.view == "processed" and self.has_experts

    def ending_at(self, probability: float) -> Self:
        """Returns the method with a curriculum that ends at another probability, if it has one."""
        if self.schedule != CURRICULUM:
            return self
        return replace(self, schedule=curriculum(probability))


ECLIP = Method("eclip", CURRICULUM)
GAZE_ATTENTION = Method(
    "gaze_attention", ALWAYS, "original", "untouched", primed=False, attends=True
)
"""Expert images stay as they are; the tower learns to pool where readers looked.

This project's own method, and the one it recommends where there is gaze. What to expect of it:
training/experiments/phantom_gaze/README.md.
"""
DACL = Method("dacl_whole_batch", NEVER, primed=False, mixes=True)
"""Verma et al. 2021 (arXiv 2011.04419) beside CLIP, on all pairs of a step and without experts.

`dacl` mixes expert images alone, which compares it with `eclip` on the same extra pairs.
"""
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("clip", NEVER, primed=False),
        Method("duplicate", CURRICULUM, weighting="original"),
        Method("naive", ALWAYS, weighting="expert"),
        Method("dacl", CURRICULUM, weighting="dominant", view="neighbour", primed=False),
        DACL,
        replace(ECLIP, name="mean_gaze", gaze="mean"),
        replace(ECLIP, name="shuffled_gaze", gaze="shuffled"),
        ECLIP,
        replace(ECLIP, name="eclip_no_curriculum", schedule=HALF),
        replace(ECLIP, name="eclip_no_priming", primed=False),
        replace(ECLIP, name="eclip_hard_mask", view="masked", primed=False),
        replace(ECLIP, name="oracle", gaze="lesions"),
        GAZE_ATTENTION,
        replace(GAZE_ATTENTION, name="duplicate_always", attends=False),
        replace(GAZE_ATTENTION, name="shuffled_attention", gaze="shuffled"),
        replace(GAZE_ATTENTION, name="mean_attention", gaze="mean"),
        replace(GAZE_ATTENTION, name="oracle_attention", gaze="lesions"),
    )
}
