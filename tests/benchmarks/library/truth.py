"""Finds the exact answers, and compares with them what the contestants find.

A hit is right if it passes the filter and its cosine is not below that of the tenth best study, the
floor. So copies of one vector count alike, whichever of them is found.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.library.data import FILTERS, WARMING, Data, Vectors, ranges

K = 10
_CHUNK = 10_000
_ROUNDING = 1e-6
"""Cosine: by so much two ways to add up the same float32 products differ at most."""


def find(data: Data) -> None:
    """Writes the cosines of the ten best studies for each filter and each counted search."""
    asked = data.asked[WARMING:]
    best = {name: np.full((len(asked), K), -1, np.float32) for name in FILTERS}
    for first, last in ranges(0, data.size, _CHUNK):
        scores = asked @ data.vectors("image", first, last).T
        for name in FILTERS:
            admitted = scores[:, data.admits(name)[first:last]]
            best[name] = top(np.concatenate([best[name], admitted], axis=1))
    np.savez(_file(data), **best)  # type: ignore[arg-type]


def top(scores: Vectors) -> Vectors:
    """Returns the ten highest scores of each row, the lowest of them first."""
    return np.partition(scores, -K, axis=1)[:, -K:]


def best(data: Data, name: str) -> Vectors:
    """Reads what `find` wrote for a filter: float32[QUERIES, 10]."""
    with np.load(_file(data)) as found:
        scores: Vectors = found[name]
    return scores


def recall(data: Data, found: Sequence[Sequence[int]], name: str) -> float:
    """Returns the share of the ten best that the counted searches found.

    found: numbers of studies, for each search.
    """
    floors = best(data, name).min(axis=1)[: len(found)]
    return share_above(data, found, range(len(found)), floors, name)


def recall_while_loading(
    data: Data,
    found: Sequence[Sequence[int]],
    queries: Sequence[int],
    loaded: Sequence[int],
) -> float:
    """Returns the share of the ten best among the studies stored when each search began.

    queries: which of the counted searches each was. loaded: how many studies had been added.
    """
    asked, base = data.asked[WARMING:], best(data, "all")
    later = asked @ data.vectors("image", data.size, data.total).T
    floors = [
        top(np.concatenate([base[query], later[query, :count]])[None]).min()
        for query, count in zip(queries, loaded, strict=True)
    ]
    return share_above(data, found, queries, floors, "all")


def share_above(
    data: Data,
    found: Sequence[Sequence[int]],
    queries: Iterable[int],
    floors: Iterable[float],
    name: str,
) -> float:
    """Returns the share of the ten best that was found, where each search has a floor."""
    asked, images, admitted = data.asked[WARMING:], data.mapped("image"), data.admits(name)
    right = 0
    for hits, query, floor in zip(found, queries, floors, strict=True):
        distinct = sorted({*hits})
        scores = images[distinct] @ asked[query]
        right += int(np.count_nonzero(admitted[distinct] & (scores >= floor - _ROUNDING)))
    return right / (K * len(found))


def _file(data: Data) -> Path:
    return data.folder / "truth.npz"
