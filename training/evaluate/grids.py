"""Draws the maps that should point at regions. Each image is encoded once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.arrays import FloatArray
from service.bundle.labels import Prompts
from service.bundle.maps import MapKind, text_map
from training.evaluate.encode import BATCH, EmbeddedPairs
from training.evaluate.regions import Region, regions

Grids = dict[MapKind, list[FloatArray | None]]
"""Kind of map → its float32[G,G] for each of R regions; None where the study has no such map."""


@dataclass(frozen=True)
class Drawn:
    """Some studies, their R regions, and the maps of each region's study."""

    studies: EmbeddedPairs
    regions: Sequence[Region]
    grids: Grids


def kinds_of(studies: EmbeddedPairs) -> tuple[MapKind, ...]:
    """Returns the kinds of map that the encoder gives of these studies."""
    outputs = studies.encoder.maps(studies.pairs.images[:1])
    attention: tuple[MapKind, ...] = ("attention",) if outputs.attention is not None else ()
    return attention if outputs.patches is None else (*attention, "text")


def draw(studies: EmbeddedPairs, prompts: Mapping[str, Prompts]) -> Drawn:
    """Returns the regions of these studies with all maps that the encoder gives."""
    found = regions(studies, prompts)
    return Drawn(studies, found, _grids(studies, found))


def _grids(studies: EmbeddedPairs, regions: Sequence[Region]) -> Grids:
    grids: Grids = {"attention": [None] * len(regions), "text": [None] * len(regions)}
    of_row = defaultdict(list)
    for at, region in enumerate(regions):
        of_row[region.row].append(at)
    rows = np.array(sorted(of_row), np.intp)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        attention, patches = studies.encoder.maps(studies.pairs.images[batch])
        for image, row in enumerate(batch.tolist()):
            looked = None if attention is None else attention[image]
            vectors = None if patches is None else patches[image]
            for at in of_row[row]:
                grids["attention"][at] = looked
                grids["text"][at] = _text_map(vectors, regions[at])
    return grids


def _text_map(patches: FloatArray | None, region: Region) -> FloatArray | None:
    return None if patches is None or region.text is None else text_map(patches, region.text)
