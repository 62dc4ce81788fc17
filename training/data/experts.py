"""The expert studies of a training split: which they are, and the heatmaps they carry."""

import hashlib
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from service.arrays import UInt8
from training.data.pairs import Pairs
from training.data.study import DataError

GazeSource = Literal["own", "shuffled", "mean", "lesions"]
"""Whose heatmap an expert carries: its own, another expert's, the mean of all, its lesions."""


@dataclass(frozen=True)
class Experts:
    """N expert studies. rows: int[N], among the training pairs; heatmaps: uint8[N,H,W]."""

    rows: npt.NDArray[np.intp]
    heatmaps: UInt8

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(
        cls, pairs: Pairs, share: float, gaze: GazeSource, seed: int, misplaced: float = 0.0
    ) -> Self:
        """Chooses a share of the studies with gaze, by hash, and gives them the arm's heatmaps.

        All arms get the same studies. Studies whose gaze falls outside the crop are skipped. With
        `lesions`, a study without a lesion gets an all-white mask. misplaced: fraction of the
        experts whose heatmaps are exchanged among them, by one random cycle.

        Raises DataError if no study is left, if `lesions` is asked of pairs without masks, if a
        gaze source other than `own` is misplaced, or if only one heatmap would be exchanged.
        """
        if pairs.heatmaps is None or (gaze == "lesions" and pairs.lesions is None):
            missing = "lesion masks" if gaze == "lesions" else "gaze"
            raise DataError(f"the training pairs have no {missing}; choose another method")
        chosen = [
            row
            for row, study in enumerate(pairs.studies)
            if study.gaze and _position(study.study_id, seed) < share and pairs.heatmaps[row].any()
        ]
        if not chosen:
            raise DataError("no study with gaze is left for the experts; raise expert.share")
        if misplaced and gaze != "own":
            raise DataError(
                "only a method with the studies' own gaze can misplace it; set expert.misplaced=0"
            )
        rows = np.array(chosen)
        if gaze == "lesions" and pairs.lesions is not None:
            return cls(rows, _all_where_nothing(pairs.lesions[rows]))
        rng = np.random.default_rng((seed, len(rows)))
        maps = assigned(pairs.heatmaps[rows], gaze, rng)
        wrong = rng.permutation(len(rows))[: round(misplaced * len(rows))]
        if len(wrong):
            maps[wrong] = assigned(maps[wrong], "shuffled", rng)
        return cls(rows, maps)


def assigned(heatmaps: UInt8, gaze: GazeSource, rng: np.random.Generator) -> UInt8:
    """Returns the heatmaps uint8[N,H,W] of N experts as an arm assigns them.

    shuffled: each gets another's, by one random cycle. mean: all get the mean of all. own and
    lesions: unchanged; the caller passes the heatmaps or the masks. Raises DataError if one alone
    is to be shuffled.
    """
    if gaze == "shuffled":
        if len(heatmaps) == 1:
            raise DataError(
                "a single expert has nobody to exchange gaze with; raise expert.share, or "
                "expert.misplaced where it is set"
            )
        cycle = rng.permutation(len(heatmaps))
        shuffled = np.empty_like(heatmaps)
        shuffled[cycle] = heatmaps[np.roll(cycle, 1)]
        return shuffled
    if gaze == "mean":
        mean = np.rint(heatmaps.mean(axis=0)).astype(np.uint8)
        return np.broadcast_to(mean, heatmaps.shape)
    return heatmaps


def draw(rng: np.random.Generator, experts: Experts, count: int) -> npt.NDArray[np.intp]:
    """Draws `count` different experts, or all of them if there are fewer; int[≤count]."""
    return rng.choice(len(experts), min(count, len(experts)), replace=False)


def _all_where_nothing(masks: UInt8) -> UInt8:
    return np.where(masks.any(axis=(1, 2), keepdims=True), masks, np.uint8(255))


def _position(study_id: str, seed: int) -> float:
    """Returns a study's place in [0, 1), by hash: the experts at 1 % are among those at 5 %."""
    digest = hashlib.sha256(f"{seed}:expert:{study_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
