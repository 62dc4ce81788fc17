"""Renders phantoms as pairs, on every core, and keeps them on disk."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from service.arrays import UInt8
from service.bundle.preprocess import ImageSpec, preprocess
from training.data.gaze import Sigma
from training.data.pairs import Pair, Pairs
from training.data.parallel import process_pool
from training.data.phantom import PhantomConfig, fingerprint, phantom
from training.data.reading import heatmap_on
from training.data.spec import PhantomData
from training.data.study import Split

FEW = 256
"""Phantoms: up to so many are rendered in this process, sooner than a pool would have started."""


def rendered_pairs(
    data: PhantomData, spec: ImageSpec, folder: Path, sigma: Sigma | None, split: Split
) -> Pairs:
    """Returns one split of the phantoms, rendered on first use and then read from disk.

    They are kept in the shared cache that the recipe names, else in `folder`.
    """
    saved = _cache(data, spec, sigma, folder) / split
    if not saved.exists():
        phantom_pairs(phantom_config(data), phantom_indices(data, split), spec, sigma).save(saved)
    return Pairs.load(saved)


def phantom_config(data: PhantomData) -> PhantomConfig:
    """Returns the phantom data set that a recipe draws from."""
    return PhantomConfig(data.size, data.seed, contrast=data.contrast, reader=data.reader)


def phantom_indices(data: PhantomData, split: Split) -> range:
    """Returns the split's phantom patients. Ranges are disjoint: train, validation, test."""
    starts = {"train": 0, "validation": data.train, "test": data.train + data.validation}
    return range(starts[split], starts[split] + getattr(data, split))


def phantom_pairs(
    config: PhantomConfig, indices: Sequence[int], spec: ImageSpec, sigma: Sigma | None = None
) -> Pairs:
    """Renders phantoms, many of them on every core. Phantom i depends on (config, i) alone."""
    draw = partial(_phantom_pair, config, spec, sigma)
    if len(indices) <= FEW:
        return Pairs.of(map(draw, indices))
    with process_pool() as pool:
        return Pairs.of(pool.map(draw, indices, chunksize=64))


def _phantom_pair(config: PhantomConfig, spec: ImageSpec, sigma: Sigma | None, index: int) -> Pair:
    drawn = phantom(config, index)
    image = preprocess(drawn.image, spec)
    if sigma is None:
        return Pair(image, drawn.study)
    mask: UInt8 = np.where(drawn.lesions.any(axis=0), 255, 0).astype(np.uint8)
    heatmap = heatmap_on(drawn.study, drawn.image.shape, spec, sigma)
    lesions = preprocess(mask, spec.model_copy(update={"fill": 0}))
    return Pair(image, drawn.study, heatmap, lesions)


def _cache(data: PhantomData, spec: ImageSpec, sigma: Sigma | None, folder: Path) -> Path:
    """Returns the run's own folder, or the one in the shared cache for exactly these phantoms."""
    if data.cache is None:
        return folder
    drawn = fingerprint(phantom_config(data), 1)  # the reader's gaze is in it
    facts = data.model_dump_json(exclude={"cache", "augment", "reader"})
    made_of = (drawn, facts, spec.model_dump_json(), sigma)
    shared = data.cache / hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    shared.mkdir(parents=True, exist_ok=True)
    return shared
