"""The expert studies of a training split: which they are, and the heatmaps they carry."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from training.data.pairs import Pairs
from training.methods import Gaze, assigned


@dataclass(frozen=True)
class Experts:
    """rows: int[N], their places among the training pairs; heatmaps: uint8[N,H,W]."""

    rows: npt.NDArray[np.intp]
    heatmaps: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, pairs: Pairs, share: float, gaze: Gaze, seed: int) -> Self:
        """A share of the studies with gaze, by hash of the study, and their heatmaps as an arm's.

        A study whose gaze left no dwell on the cropped image has none. Raises ValueError when no
        study is left, or when lesions are asked of pairs that have no masks.
        """
        maps = pairs.lesions if gaze == "lesions" else pairs.heatmaps
        if maps is None:
            what = "lesion masks" if gaze == "lesions" else "gaze"
            raise ValueError(f"the training pairs have no {what}")
        chosen = [
            row
            for row, study in enumerate(pairs.studies)
            if study.gaze and _position(study.study_id, seed) < share and maps[row].any()
        ]
        if not chosen:
            raise ValueError("no study with gaze is left for experts; raise `expert_share`")
        rows = np.array(chosen)
        return cls(rows, assigned(maps[rows], gaze, np.random.default_rng((seed, len(rows)))))


def _position(study_id: str, seed: int) -> float:
    """Where a study falls in [0, 1), by hash: the experts at 1 % are among those at 5 %."""
    digest = hashlib.sha256(f"{seed}:expert:{study_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def draw(rng: np.random.Generator, experts: Experts, count: int) -> npt.NDArray[np.intp]:
    """`count` different experts, or all of them where there are fewer; int[≤count]."""
    return rng.choice(len(experts), min(count, len(experts)), replace=False)
