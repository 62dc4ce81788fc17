"""The expert studies of a training split: which they are, and the heatmaps they carry."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from training.data.pairs import Pairs
from training.data.study import DataError
from training.methods import Gaze, assigned


@dataclass(frozen=True)
class Experts:
    """rows: int[N], their places among the training pairs; heatmaps: uint8[N,H,W]."""

    rows: npt.NDArray[np.intp]
    heatmaps: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, pairs: Pairs, share: float, gaze: Gaze, seed: int, misplaced: float = 0.0) -> Self:
        """A share of the studies with gaze, by hash of the study, and their heatmaps as an arm's.

        All arms have the same studies; one without a lesion has, as the oracle's map, all of its
        image. A study whose gaze left no dwell on the cropped image has none. misplaced: the share
        of the experts who then get another's map, by one random cycle among them. Raises DataError
        when no study is left, when lesions are asked of pairs that have no masks, and when other
        gaze than the own is to be misplaced.
        """
        if pairs.heatmaps is None or (gaze == "lesions" and pairs.lesions is None):
            missing = "lesion masks" if gaze == "lesions" else "gaze"
            raise DataError(f"the training pairs have no {missing}")
        chosen = [
            row
            for row, study in enumerate(pairs.studies)
            if study.gaze and _position(study.study_id, seed) < share and pairs.heatmaps[row].any()
        ]
        if not chosen:
            raise DataError("no study with gaze is left for experts; raise `expert.share`")
        if misplaced and gaze != "own":
            raise DataError("only a method that carries the studies' own gaze can misplace some")
        rows = np.array(chosen)
        if gaze == "lesions" and pairs.lesions is not None:
            return cls(rows, _all_where_nothing(pairs.lesions[rows]))
        rng = np.random.default_rng((seed, len(rows)))
        maps = assigned(pairs.heatmaps[rows], gaze, rng)
        wrong = rng.permutation(len(rows))[: round(misplaced * len(rows))]
        if len(wrong) == 1:
            raise DataError("one expert alone has nobody to change gaze with; misplace more")
        if len(wrong):
            maps[wrong] = assigned(maps[wrong], "shuffled", rng)
        return cls(rows, maps)


def _all_where_nothing(masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.where(masks.any(axis=(1, 2), keepdims=True), masks, np.uint8(255))


def _position(study_id: str, seed: int) -> float:
    """Where a study falls in [0, 1), by hash: the experts at 1 % are among those at 5 %."""
    digest = hashlib.sha256(f"{seed}:expert:{study_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def draw(rng: np.random.Generator, experts: Experts, count: int) -> npt.NDArray[np.intp]:
    """`count` different experts, or all of them where there are fewer; int[≤count]."""
    return rng.choice(len(experts), min(count, len(experts)), replace=False)
