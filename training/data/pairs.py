"""Image–report pairs in memory: what a small training run and every evaluation read."""

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from service.arrays import UInt8
from service.bundle.preprocess import ImageSpec, preprocess
from service.imaging.decode import ImageLimits, decode
from training.data.gaze import Sigma, aligned_heatmap
from training.data.manifest import read_manifest
from training.data.phantom import PhantomConfig, fingerprint, phantom
from training.data.splits import split_studies
from training.data.study import Split, Study, read_studies, write_studies
from training.parallel import process_pool
from training.recipe import Manifest, Phantoms, RecipeError

FEW = 256
"""Phantoms that are drawn before a pool of processes would have started."""
_ARRAYS = ("images", "heatmaps", "lesions")


class Levels(Protocol):
    """uint8[N,H,W] that can be indexed along its first axis: an array, or images in shards."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> UInt8: ...


class Pair(NamedTuple):
    """One image uint8[H,W] at the tower's input size, its study, and its maps uint8[H,W] if any."""

    image: UInt8
    study: Study
    heatmap: UInt8 | None = None
    lesions: UInt8 | None = None


@dataclass(frozen=True)
class Pairs:
    """images: uint8[N,H,W], already at the tower's input size; studies: their N records.

    heatmaps: uint8[N,H,W], where the readers looked, zeros without gaze; lesions: uint8[N,H,W], the
    masks of phantoms. Both lie on the images, and are None where they were not asked for.
    """

    images: Levels
    studies: tuple[Study, ...]
    heatmaps: Levels | None = None
    lesions: Levels | None = None

    def __len__(self) -> int:
        return len(self.studies)

    @property
    def reports(self) -> list[str]:
        """The N reports."""
        return [study.report for study in self.studies]

    def at(self, rows: npt.NDArray[np.intp]) -> Self:
        """Some of the pairs."""
        heatmaps = None if self.heatmaps is None else self.heatmaps[rows]
        lesions = None if self.lesions is None else self.lesions[rows]
        studies = tuple(self.studies[row] for row in rows.tolist())
        return type(self)(self.images[rows], studies, heatmaps, lesions)

    def __deepcopy__(self, _: Any) -> Self:
        """Nothing changes pairs, so a copied trainer may share them."""
        return self

    def has_finding(self, label: str) -> npt.NDArray[np.bool_]:
        """bool[N]: whether each study has the finding."""
        return np.array([label in study.findings for study in self.studies])

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Stack single pairs."""
        images, studies, heatmaps, lesions = zip(*pairs, strict=True)
        return cls(np.stack(images), studies, _stacked(heatmaps), _stacked(lesions))

    def save(self, folder: Path) -> None:
        """Keep the pairs in `folder`, which appears whole, by whichever process is first."""
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            draft = Path(scratch) / folder.name
            draft.mkdir()
            for name in _ARRAYS:
                if (array := getattr(self, name)) is not None:
                    np.save(draft / f"{name}.npy", array)
            write_studies(draft / "studies.jsonl", self.studies)
            try:
                draft.rename(folder)
            except OSError:
                if not folder.exists():
                    raise

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` kept."""
        files = {name: folder / f"{name}.npy" for name in _ARRAYS}
        arrays = {name: np.load(path) for name, path in files.items() if path.exists()}
        return cls(studies=tuple(read_studies(folder / "studies.jsonl")), **arrays)


def split_pairs(
    data: Phantoms | Manifest,
    split: Split,
    spec: ImageSpec,
    cache: Path,
    sigma: Sigma | None = None,
) -> Pairs:
    """One split of a recipe's data, with heatmaps where a `sigma` is given.

    Rendered phantoms are kept in the recipe's own cache, or else in the directory `cache`. Raises
    LeakageError where the splits of a manifest share a patient, a study or an image.
    """
    if isinstance(data, Manifest):
        chosen = split_studies(read_manifest(data.path), data.fractions)[split]
        with_report = (study for study in chosen if study.report)
        return study_pairs(with_report, data.path.parent, spec, sigma)
    kept = _kept(data, spec, sigma, cache) / split
    if not kept.exists():
        phantom_pairs(phantom_config(data), phantom_indices(data, split), spec, sigma).save(kept)
    return Pairs.load(kept)


def _kept(data: Phantoms, spec: ImageSpec, sigma: Sigma | None, cache: Path) -> Path:
    """The run's own folder, or one in the shared cache that is of these phantoms alone."""
    if data.cache is None:
        return cache
    drawn = fingerprint(phantom_config(data), 1)
    made_of = (drawn, data.model_dump_json(exclude={"cache"}), spec.model_dump_json(), sigma)
    folder = data.cache / hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def phantom_config(data: Phantoms) -> PhantomConfig:
    """The data set that a recipe's phantoms are drawn from."""
    return PhantomConfig(size=data.size, seed=data.seed, contrast=data.contrast)


def phantom_indices(data: Phantoms, split: Split) -> range:
    """Disjoint ranges of phantom patients: train, then validation, then test."""
    starts = {"train": 0, "validation": data.train, "test": data.train + data.validation}
    return range(starts[split], starts[split] + getattr(data, split))


def phantom_pairs(
    config: PhantomConfig, indices: Sequence[int], spec: ImageSpec, sigma: Sigma | None = None
) -> Pairs:
    """Render phantoms, many of them on every core; phantom i depends on nothing but (config, i)."""
    draw = partial(_phantom_pair, config, spec, sigma)
    if len(indices) <= FEW:
        return Pairs.of(map(draw, indices))
    with process_pool() as pool:
        return Pairs.of(pool.map(draw, indices, chunksize=64))


def study_pairs(
    studies: Iterable[Study], folder: Path, spec: ImageSpec, sigma: Sigma | None = None
) -> Pairs:
    """Read the first image of each study that has one through the service's own decoder."""
    imaged = [study for study in studies if study.images]
    if not imaged:
        raise RecipeError("no study with an image in this split; check the manifest and its shares")
    return Pairs.of(read_pair(folder, study, spec, sigma) for study in imaged)


def _phantom_pair(config: PhantomConfig, spec: ImageSpec, sigma: Sigma | None, index: int) -> Pair:
    drawn = phantom(config, index)
    image = preprocess(drawn.image, spec)
    if sigma is None:
        return Pair(image, drawn.study)
    mask: UInt8 = np.where(drawn.lesions.any(axis=0), 255, 0).astype(np.uint8)
    heatmap = _map(drawn.study, drawn.image.shape, spec, sigma)
    return Pair(image, drawn.study, heatmap, preprocess(mask, spec))


def read_pair(folder: Path, study: Study, spec: ImageSpec, sigma: Sigma | None) -> Pair:
    """A study's first image, and where its readers looked where a `sigma` is given."""
    image = decode((folder / study.images[0]).read_bytes(), ImageLimits(), spec)
    shape = (image.rows, image.columns)
    heatmap = None if sigma is None else _map(study, shape, spec, sigma)
    return Pair(preprocess(image.pixels, spec), study, heatmap)


def _map(study: Study, shape: tuple[int, ...], spec: ImageSpec, sigma: Sigma) -> UInt8:
    """The study's heatmap on its preprocessed image, 0…255."""
    looked = aligned_heatmap(study.gaze, shape[0], shape[1], spec, sigma)
    return np.rint(255 * looked).astype(np.uint8)


def _stacked(maps: Sequence[UInt8 | None]) -> UInt8 | None:
    present = [one for one in maps if one is not None]
    return np.stack(present) if present else None
