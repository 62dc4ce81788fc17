"""Opens the data that a recipe names: phantoms, a manifest or shards."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from service.bundle.preprocess import ImageSpec
from service.studies.images import place_of_images
from training.data.gaze import Sigma
from training.data.manifest import read_manifest
from training.data.pairs import Pairs
from training.data.reading import study_pairs, usable
from training.data.rendering import rendered_pairs
from training.data.shards import open_shards
from training.data.spec import ManifestData, PhantomData, ShardData
from training.data.splits import split_studies
from training.data.study import Split

SplitReader = Callable[[Split], Pairs]
"""Reads the pairs of one split."""


def open_pairs(
    data: PhantomData | ManifestData | ShardData,
    spec: ImageSpec,
    folder: Path,
    sigma: Sigma | None = None,
) -> SplitReader:
    """Reads, splits and checks the studies once; returns what reads the pairs of a split.

    Studies without an image or a report are left out, and counted in the log. Heatmaps are there
    where a `sigma` is given. folder: where rendered phantoms are kept, unless the recipe names a
    shared cache. Raises LeakageError if two splits share a patient, a study or an image.
    """
    if isinstance(data, PhantomData):
        return partial(rendered_pairs, data, spec, folder, sigma)
    if isinstance(data, ShardData):
        return open_shards(data.path, data.fractions, spec, sigma)
    return _open_manifest(data, spec, sigma)


def _open_manifest(data: ManifestData, spec: ImageSpec, sigma: Sigma | None) -> SplitReader:
    splits = split_studies(read_manifest(data.path), data.fractions)
    place = place_of_images(data.path)

    def read(split: Split) -> Pairs:
        return study_pairs(usable(splits[split], split), place, spec, sigma)

    return read
