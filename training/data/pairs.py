"""Image–report pairs in memory: what a small training run and every evaluation read."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from service.bundle.preprocess import ImageSpec, preprocess
from service.imaging.decode import ImageLimits, decode
from training.data.manifest import read_manifest
from training.data.phantom import PhantomConfig, phantom
from training.data.splits import split_studies
from training.data.study import Split, Study, read_studies, write_studies
from training.recipe import Manifest, Phantoms, RecipeError


@dataclass(frozen=True)
class Pairs:
    """images: uint8[N,H,W], already at the tower's input size; studies: their N records."""

    images: npt.NDArray[np.uint8]
    studies: tuple[Study, ...]

    def __len__(self) -> int:
        return len(self.studies)

    @property
    def reports(self) -> list[str]:
        """The N reports."""
        return [study.report for study in self.studies]

    def has_finding(self, label: str) -> npt.NDArray[np.bool_]:
        """bool[N]: whether each study has the finding."""
        return np.array([label in study.findings for study in self.studies])

    @classmethod
    def of(cls, pairs: Iterable[tuple[npt.NDArray[np.uint8], Study]]) -> Self:
        """Stack single pairs."""
        images, studies = zip(*pairs, strict=True)
        return cls(np.stack(images), tuple(studies))

    def save(self, folder: Path) -> None:
        """Keep the pairs in `folder`; it appears whole or not at all."""
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            draft = Path(scratch) / folder.name
            draft.mkdir()
            np.save(draft / "images.npy", self.images)
            write_studies(draft / "studies.jsonl", self.studies)
            draft.rename(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` kept."""
        return cls(np.load(folder / "images.npy"), tuple(read_studies(folder / "studies.jsonl")))


def split_pairs(data: Phantoms | Manifest, split: Split, spec: ImageSpec, cache: Path) -> Pairs:
    """One split of a recipe's data; rendered phantoms are kept in the directory `cache`.

    Raises LeakageError where the splits of a manifest share a patient, a study or an image.
    """
    if isinstance(data, Manifest):
        chosen = split_studies(read_manifest(data.path), data.fractions)[split]
        with_report = (study for study in chosen if study.report)
        return study_pairs(with_report, data.path.parent, spec)
    kept = cache / split
    if not kept.exists():
        config = PhantomConfig(size=data.size, seed=data.seed)
        phantom_pairs(config, phantom_indices(data, split), spec).save(kept)
    return Pairs.load(kept)


def phantom_indices(data: Phantoms, split: Split) -> range:
    """Disjoint ranges of phantom patients: train, then validation, then test."""
    starts = {"train": 0, "validation": data.train, "test": data.train + data.validation}
    return range(starts[split], starts[split] + getattr(data, split))


def phantom_pairs(config: PhantomConfig, indices: Sequence[int], spec: ImageSpec) -> Pairs:
    """Render phantoms on every core; phantom i depends on nothing but (config, i)."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return Pairs.of(pool.map(partial(_phantom_pair, config, spec), indices, chunksize=64))


def study_pairs(studies: Iterable[Study], folder: Path, spec: ImageSpec) -> Pairs:
    """Read the first image of each study that has one through the service's own decoder."""
    imaged = [study for study in studies if study.images]
    if not imaged:
        raise RecipeError("no study with an image in this split; check the manifest and its shares")
    return Pairs.of((_read(folder / study.images[0], spec), study) for study in imaged)


def _phantom_pair(
    config: PhantomConfig, spec: ImageSpec, index: int
) -> tuple[npt.NDArray[np.uint8], Study]:
    drawn = phantom(config, index)
    return preprocess(drawn.image, spec), drawn.study


def _read(path: Path, spec: ImageSpec) -> npt.NDArray[np.uint8]:
    return preprocess(decode(path.read_bytes(), ImageLimits()).pixels, spec)
