"""Ranks what an engine finds: in a stable order, fused, diverse, or one part for each study.

Engines can fuse and diversify too, but order equal scores at random, so that a copy of a library
would answer differently.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from service.cases.operations import Selection
from service.cases.points import Payload, ScoredPoint
from service.cases.schema import Search
from service.imaging.deidentify import StudyRef

CANDIDATES = 100
"""Hits of each ranking that are fused, or from which diverse hits are chosen; k if k is more."""
RANK_OFFSET = 60
"""Rank: reciprocal rank fusion scores 1 ÷ (60 + rank) (Cormack, Clarke, Büttcher, SIGIR 2009).

Ranks count from 1; those of Qdrant's own fusion count from 0.
"""
_TIED = (1, 50, 1000)
"""Hits beyond the limit that are fetched, one after the other, to see where equal scores end."""
_OVERFETCH = 4
"""Hits per wanted study in one round of a search grouped by study."""

Nearest = Callable[[Selection, int], list[ScoredPoint]]
"""A search that lacks only its selection and its limit."""
Engine = Callable[..., list[ScoredPoint]]
"""An engine's search by a vector or by words; see `CaseStore._nearest`."""
Read = Callable[[Sequence[str]], Mapping[str, Payload]]
"""Reads the study ids of points by point id."""


def ranking_of(search: Search, engine: Engine, min_score: float | None = None) -> Nearest:
    """Returns the search as a function of its selection and limit, in a stable order."""
    if search.vector is not None and search.words is not None:
        by_meaning, by_words = replace(search, words=None), replace(search, vector=None)
        rankings = [ranking_of(each, engine) for each in (by_meaning, by_words)]
        return partial(fused, rankings, min_score or 0.0)
    nearest = partial(stable, partial(engine, search, above=_just_below(min_score)))
    return partial(diverse, nearest, search.diversity) if search.diversity else nearest


def stable(nearest: Nearest, selection: Selection, k: int) -> list[ScoredPoint]:
    """Returns the best, with the lowest point ids of those that score as the last of them.

    An engine orders equal scores at random, so this looks beyond k until scores fall.
    """
    for further in _TIED:
        points = _in_order(nearest(selection, k + further))
        if len(points) < k + further or points[-1].score < points[k - 1].score:
            break
    return points[:k]


def fused(
    rankings: Sequence[Nearest], min_score: float, selection: Selection, k: int
) -> list[ScoredPoint]:
    """Merges rankings by reciprocal rank fusion (`RANK_OFFSET`)."""
    scores: dict[str, float] = defaultdict(float)
    for nearest in rankings:
        for rank, point in enumerate(nearest(selection, max(k, CANDIDATES)), start=1):
            scores[point.id] += 1 / (RANK_OFFSET + rank)
    merged = _in_order([ScoredPoint(id, score) for id, score in scores.items()])
    return [point for point in merged[:k] if point.score >= min_score]


def diverse(nearest: Nearest, diversity: float, selection: Selection, k: int) -> list[ScoredPoint]:
    """Chooses among the nearest by maximal marginal relevance (Carbonell, Goldstein, SIGIR 1998).

    The nearest comes first; each next one has the highest (1 - diversity) · nearness - diversity ·
    cosine with the most similar one chosen. They are returned in order of their scores.

    One product of all the vectors would take longer: BLAS wakes threads for it.
    """
    points = nearest(selection, max(k, CANDIDATES))
    if not points:
        return []
    near = np.array([point.score for point in points])
    vectors = np.array([point.vector for point in points])
    chosen, repeated = [0], vectors @ vectors[0]
    while len(chosen) < min(k, len(points)):
        worth = (1 - diversity) * near - diversity * repeated
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
        repeated = np.maximum(repeated, vectors @ vectors[chosen[-1]])
    return _in_order([points[place] for place in chosen])


def best_of_each_study(
    nearest: Nearest, read: Read, selection: Selection, k: int
) -> list[ScoredPoint]:
    """Searches in rounds, each without the studies of earlier rounds, so k rounds are enough.

    Qdrant Edge has no query by groups; both engines use this, so that both answer alike. A study
    of a later round ranks after those of earlier rounds whatever its score, because fused ranks
    start again in each round.
    """
    found: dict[StudyRef, ScoredPoint] = {}
    limit = k * _OVERFETCH
    exhausted = False
    while len(found) < k and not exhausted:
        points = nearest(selection.without_studies(found), limit)
        for start in range(0, len(points), k):  # most often the first k are of k studies
            if len(found) < k:
                _add_studies(found, points[start : start + k], read)
        exhausted = len(points) < limit
    return list(found.values())[:k]


def _add_studies(
    found: dict[StudyRef, ScoredPoint], points: Sequence[ScoredPoint], read: Read
) -> None:
    """Adds the best point of each study that was not found before."""
    payloads = read([point.id for point in points])
    for point in points:
        if point.id in payloads:  # not deleted meanwhile
            found.setdefault(payloads[point.id]["study_id"], point)


def _just_below(min_score: float | None) -> float | None:
    """Returns the float32 below: engines return scores strictly above a bound."""
    if min_score is None:
        return None
    return float(np.nextafter(np.float32(min_score), np.float32(-np.inf)))


def _in_order(points: Sequence[ScoredPoint]) -> list[ScoredPoint]:
    return sorted(points, key=lambda point: (-point.score, point.id))
