"""Measures what share of the ten nearest parts a search finds: its recall.

It depends on the library, so it is measured there. It depends on the query too: among 300,000
studies images find images with 48 candidates where reports need 384
(tests/benchmarks/library.json). So searches by images and by texts are measured apart.

The queries are stored vectors: images look for every kind of part, and so do reports and passages.
A graph finds the neighbours of a vector that it holds too easily: a vector that looks among its own
kind is first moved by the difference of another one and its nearest. (Measured, 12,000 vectors of
40 directions, ef 64: recall .948 for new vectors, .959 for moved ones, .995 for stored ones that do
not count themselves.)

A sample stands for an exact search. What is nearest in it and beats the tenth hit of a query was
missed. So no call of the engine is long, which would keep Python from answering requests. Up to
50,000 parts the sample is the whole library, and the recall exact but for scores that differ by
less than `_ALIKE`. In a larger one each miss in the sample stands for several, and a search that
fails is counted twice at most.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from math import sqrt
from statistics import fmean

import numpy as np

from service.cases.breadth import LADDER, SUREST, Breadth
from service.cases.points import Point, ScoredPoint
from service.cases.reading import PointReader
from service.cases.schema import Part, Vector, VectorOf

TARGET = 0.99
"""Recall@10 that a breadth must reach, by the lower bound of the interval."""
_KINDS: dict[VectorOf, tuple[Part, ...]] = {"image": ("image",), "text": ("report", "passage")}
"""What a query is made of → the kinds of parts whose vectors stand for such queries."""
_HITS = 10
"""Hits of a query among which the nearest are looked for."""
_QUERIES = 2000
"""Queries of each kind. A kind of which fewer are stored does not ask for others: it proves little.
"""
_COMPARED = 50_000
"""Parts with which the hits are compared. A tenth more takes a tenth longer."""
_ALIKE = 5e-5
"""Scores that differ by less count as equal: the engine rounds queries to float16, which changes a
score of 512 numbers by about 1e-5."""
_CONFIDENCE = 1.645
"""Standard errors: the interval's lower bound holds in 95 % of measurements."""
_PAGE = 100
"""Parts that are read at once. Reading them keeps other threads waiting for 2 ms."""
_BURST_S = 0.002
"""Seconds of work after which the measurement pauses."""
_REST = 4
"""Times its work that it pauses: it takes a fifth of a core."""


class Pace:
    """Lets a measurement go on slowly, and ends it. A low priority would not do.

    A thread that the system puts aside keeps Python's lock, if it has it.
    """

    def __init__(self, ending: threading.Event) -> None:
        self._ending, self._since = ending, time.perf_counter()

    def rest(self) -> None:
        """Pauses after a burst of work. Raises Ended once the library is being closed."""
        worked = time.perf_counter() - self._since
        if worked > _BURST_S:
            self._ending.wait(worked * _REST)
            self._since = time.perf_counter()
        if self._ending.is_set():
            raise Ended


class Ended(Exception):
    """The library is being closed."""


def least_breadths(
    store: PointReader, part: Part, pace: Pace
) -> dict[VectorOf, tuple[Breadth, float]]:
    """Returns the least breadth that reaches the target, or the last, and the recall it reaches.

    What a query is made of decides. It is left out where too few such vectors are stored.
    """
    queries = {made: _queries(store, part, kinds, pace) for made, kinds in _KINDS.items()}
    sample = _Sample(store, part, list(chain(*chain(*queries.values()))), pace)
    asked = {made: groups for made, groups in queries.items() if groups}
    return {made: _least(store, part, groups, sample, pace) for made, groups in asked.items()}


def _least(
    store: PointReader,
    part: Part,
    groups: Sequence[Sequence[Point]],
    sample: "_Sample",
    pace: Pace,
) -> tuple[Breadth, float]:
    """The group of queries that finds least decides."""
    observed = sample.observed * min(map(len, groups))
    for breadth in LADDER:
        hits = partial(_hits, store, part, breadth, pace)
        missed = [fmean(sample.missed(each, hits(each)) for each in group) for group in groups]
        recall = max(0.0, 1 - max(missed) / _HITS)
        if _lower_bound(recall, observed) >= TARGET:
            break
    return breadth, recall


def _queries(
    store: PointReader, part: Part, kinds: Sequence[Part], pace: Pace
) -> list[list[Point]]:
    """Returns the points of each of the kinds whose vectors look for a part."""
    asking = [kind for kind in kinds if kind == part or store.count_parts(kind) >= _QUERIES]
    drawn = [list(_drawn(store, kind, _QUERIES, pace)) for kind in asking]
    return [
        _moved(store, part, group, pace) if group[0].part == part else group
        for group in drawn
        if group
    ]


def _moved(store: PointReader, part: Part, points: Sequence[Point], pace: Pace) -> list[Point]:
    """Returns points of vectors that lie as the stored ones do, and that no graph holds."""
    vectors = [_unit(point) for point in points]
    moved = []
    for number, (point, vector) in enumerate(zip(points, vectors, strict=True)):
        other = vectors[number - 1]
        hits = store.nearest(part, other, 2, SUREST)
        ids = [hit.id for hit in hits if hit.id != points[number - 1].id]
        near = next(store.parts_from(part, ids[0], 1), None) if ids else None
        step = 0 if near is None or near.vector is None else other - near.vector
        moved.append(replace(point, vector=vector + step))
        pace.rest()
    return moved


def _hits(
    store: PointReader, part: Part, breadth: Breadth, pace: Pace, query: Point
) -> list[ScoredPoint]:
    """Returns the ten best hits of a query but for itself. A shorter answer counts as none."""
    hits = store.nearest(part, _unit(query), _HITS + 1, breadth)
    others = [hit for hit in hits if hit.id != query.id][:_HITS]
    pace.rest()
    return others if len(others) == _HITS else []


class _Sample:
    """Parts of a kind, drawn at random, and which of them are nearest to each of the queries."""

    def __init__(
        self, store: PointReader, part: Part, queries: Sequence[Point], pace: Pace
    ) -> None:
        asked = np.stack([_unit(query) for query in queries])
        scores = np.full((len(queries), _HITS + 1), -1, np.float32)  # a query may find itself
        places, ids = np.zeros(scores.shape, np.int64), list[str]()
        drawn = _drawn(store, part, _COMPARED, pace)
        while page := list(islice(drawn, _PAGE)):
            new = asked @ np.stack([point.vector for point in page if point.vector is not None]).T
            numbers = len(ids) + np.arange(len(page))
            places = np.hstack([places, np.broadcast_to(numbers, new.shape)])
            scores = np.hstack([scores, new])
            best = np.argpartition(scores, -_HITS - 1, axis=1)[:, -_HITS - 1 :]
            places = np.take_along_axis(places, best, axis=1)
            scores = np.take_along_axis(scores, best, axis=1)
            ids += [point.id for point in page]
            pace.rest()
        points = store.count_parts(part)
        self._share = min(1.0, max(1, len(ids)) / max(1, points))
        self.observed = min(1, _HITS * _COMPARED / points)
        """Queries that count for each one: those of ten nearest parts go together, but the sample
        may have fewer."""
        self._nearest = {
            query.id: [(ids[place], float(score)) for place, score in zip(*row, strict=True)]
            for query, *row in zip(queries, places, scores, strict=True)
            if ids
        }

    def missed(self, query: Point, hits: Sequence[ScoredPoint]) -> float:
        """Estimates how many of its ten nearest parts a query misses. hits: ten, or none."""
        worst = hits[-1].score if hits else -1
        found = {query.id, *(hit.id for hit in hits)}
        near = self._nearest.get(query.id, [])
        better = sum(score > worst + _ALIKE and id not in found for id, score in near)
        return min(better / self._share, max(_HITS, 1 / self._share))


def _drawn(store: PointReader, part: Part, number: int, pace: Pace) -> Iterator[Point]:
    """Yields parts that have a vector, at random: ids are hashes, so any that follow each other."""
    start = str(uuid.uuid4())
    from_start = store.parts_from(part, start, _PAGE)
    before = store.parts_from(part, str(uuid.UUID(int=0)), _PAGE)
    until_start = (point for point in before if point.id < start)
    for point in islice(chain(from_start, until_start), number):
        pace.rest()
        if point.vector is not None:
            yield point


def _unit(point: Point) -> Vector:
    """Returns the point's vector at unit length; `_drawn` yields none without."""
    assert point.vector is not None  # noqa: S101 - for the type checker
    unit: Vector = point.vector / np.linalg.norm(point.vector)
    return unit


def _lower_bound(share: float, observed: float) -> float:
    """Returns the lower bound of Wilson's interval (J. Am. Stat. Assoc. 22, 1927).

    observed: queries, or hits if the sample has fewer. Those that one query misses go together, so
    its ten nearest parts are no ten observations.
    """
    spread = _CONFIDENCE**2 / observed
    half = sqrt(spread * share * (1 - share) + spread**2 / 4)
    return (share + spread / 2 - half) / (1 + spread)
