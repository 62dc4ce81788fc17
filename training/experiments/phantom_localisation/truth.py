"""Reads what the maps of one seed are compared with: lesions, distractors and mean gaze."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from service.arrays import Bools, UInt8
from service.bundle.labels import Prompts
from service.bundle.preprocess import ImageSpec, preprocess
from training.data.dataset import open_pairs
from training.data.experts import Experts
from training.data.pairs import Pairs
from training.data.phantom import PROMPTS, PhantomConfig, phantom
from training.data.rendering import phantom_config, phantom_indices
from training.data.spec import PhantomData
from training.data.study import DataError
from training.evaluate.findings import Findings
from training.evaluate.regions import LEVEL
from training.recipe import Recipe

LABELS = {label: Prompts.model_validate(prompts) for label, prompts in PROMPTS.items()}
DISTRACTOR_LEVEL = 8
"""Grey levels by which a pixel differs from the same phantom's without distractors."""
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Single:
    """The N studies of a split with one finding, which has a mask.

    rows: int[N], in the split. pixels: uint8[N,H,W]. labels: int[N], the findings, in the order of
    `LABELS`. inside: bool[N,H,W].
    """

    rows: npt.NDArray[np.intp]
    pixels: UInt8
    labels: npt.NDArray[np.intp]
    inside: Bools

    @classmethod
    def of(cls, pairs: Pairs) -> Self:
        """Chooses the studies. Raises DataError if there is none."""
        if pairs.lesions is None:
            raise DataError("these phantoms were rendered without masks")
        there = Findings.of(pairs.studies, LABELS).there
        inside = pairs.lesions[:] >= LEVEL
        rows = np.flatnonzero((there.sum(axis=1) == 1) & inside.any(axis=(1, 2)))
        if not len(rows):
            raise DataError("no study has one finding with a mask; draw more phantoms")
        return cls(rows, pairs.images[rows], there[rows].argmax(axis=1), inside[rows])

    def firsts(self) -> Self:
        """Returns the first study of each finding."""
        _, at = np.unique(self.labels, return_index=True)
        return type(self)(self.rows[at], self.pixels[at], self.labels[at], self.inside[at])


@dataclass(frozen=True)
class Truth:
    """A seed's phantoms. distractors: bool[N,H,W], on `single`."""

    train: Pairs
    test: Pairs
    single: Single
    validation: Single
    distractors: Bools

    @classmethod
    def of(cls, recipe: Recipe, spec: ImageSpec) -> Self:
        """Reads the phantoms of a recipe, which are rendered if its cache lacks them."""
        if not isinstance(recipe.data, PhantomData):
            raise DataError("the experiment is on phantoms")
        read = open_pairs(recipe.data, spec, Path(), recipe.expert.sigma)
        test = read("test")
        single = Single.of(test)
        return cls(
            read("train"),
            test,
            single,
            Single.of(read("validation")),
            _distractors(recipe.data, spec, single),
        )

    def mean_gaze(self, recipe: Recipe) -> Floats:
        """Returns the mean heatmap of the recipe's experts, float64[H,W]."""
        experts = Experts.of(self.train, recipe.expert.share, "own", recipe.seed)
        return np.asarray(experts.heatmaps.mean(axis=0))


def _distractors(data: PhantomData, spec: ImageSpec, single: Single) -> Bools:
    """Renders the same phantoms without distractors, and returns where they differ.

    Distractors have a random stream of their own, so nothing else of a phantom moves.
    """
    bare = replace(phantom_config(data), distractors=0.0)
    indices = np.array(phantom_indices(data, "test"))[single.rows]
    without = _images(bare, indices.tolist(), spec)
    return np.abs(single.pixels.astype(int) - without) >= DISTRACTOR_LEVEL


def _images(config: PhantomConfig, indices: Sequence[int], spec: ImageSpec) -> UInt8:
    return np.stack([preprocess(phantom(config, index).image, spec) for index in indices])
