"""Measures how surely a library finds what is nearest, and searches it no broader than that needs.

Recall is the share of the ten nearest parts that a search finds. It depends on the library, so it
is measured there. The queries are stored vectors of every kind, since images look for reports and
reports for images. A graph finds the neighbours of a vector that it holds too easily: a vector that
looks among its own kind is first moved by the difference of another one and its nearest. (Measured,
12,000 vectors of 40 directions, ef 64: recall .948 for new vectors, .959 for moved ones, .995 for
stored ones that do not count themselves.)

A sample stands for an exact search. Whatever in it beats the tenth hit of a query was missed. So no
call of the engine is long, which would keep Python from answering requests. Up to 50,000 parts the
sample is the whole library, and the recall exact but for scores that differ by less than `_ALIKE`.
In a larger one each miss in the sample stands for several, and a search that fails is counted twice
at most.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.cases.base import CaseStore
from service.cases.breadth import LADDER, SUREST, Breadth
from service.cases.points import PARTS, Point
from service.cases.schema import Part
from service.files import write_atomically
from service.telemetry import LIBRARY_EF, LIBRARY_RECALL, log

TARGET = 0.99
"""Recall@10 that a breadth must reach, by the lower bound of the interval."""
_HITS = 10
"""Hits of a query among which the nearest are looked for."""
_QUERIES = 2000
"""Queries of each kind. A kind of which fewer are stored does not ask for others: it proves little.
"""
_COMPARED = 50_000
"""Parts with which the hits are compared. A tenth more takes a tenth longer."""
_ALIKE = 2e-4
"""Scores that differ by less count as equal: those of the engine are of float16 vectors."""
_CONFIDENCE = 1.645
"""Standard errors: the interval's lower bound holds in 95 % of measurements."""
_GROWTH = 2
"""Times as many parts, or as few, after which a library is measured again."""
_IN_GRAPHS = 0.9
"""Share of the vectors that must lie in graphs: a scan would flatter the breadth."""
_LOOK_EVERY_S = 600.0
"""Seconds between two looks whether a measurement is due."""
_FIRST_LOOK_S = 30.0
"""Seconds until the first one, in which the service starts."""
_PAGE = 100
"""Parts that are read at once. Reading them keeps other threads waiting for 2 ms."""
_BURST_S = 0.002
"""Seconds of work after which the measurement pauses."""
_REST = 4
"""Times its work that it pauses: it takes a fifth of a core."""
_PATIENCE_S = 2.0
"""Seconds that closing waits for a call of the engine that is under way."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How broadly parts of a kind are searched, and what that was measured to find."""

    breadth: Breadth
    recall: float
    """Recall@10 of that kind of query for which it is lowest."""
    points: int
    """Parts that the library had."""

    def is_due(self, points: int) -> bool:
        """Tells whether a library that has so many parts now is to be measured again."""
        return not self.points / _GROWTH < points < self.points * _GROWTH


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


@contextmanager
def calibrating(store: CaseStore, file: Path) -> Iterator[None]:
    """Keeps the store's breadths up to date by a thread. file: holds them between two runs."""
    ending = threading.Event()
    _apply(store, _read(store, file))
    arguments = (store, file, ending)
    thread = threading.Thread(target=_run, args=arguments, name="calibration", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_PATIENCE_S)


def calibrate(store: CaseStore, file: Path, pace: Pace) -> None:
    """Measures what is due, and writes it to the file. Raises what the store raises, and Ended."""
    known = _read(store, file)  # perhaps another server's that shares the library
    _apply(store, known)
    for part in PARTS:
        points = store.count_parts(part)
        if part in known and not known[part].is_due(points):
            continue
        if not _has_vectors(store, part) or store.in_graphs(part) < _IN_GRAPHS * points:
            continue
        known[part] = measured(store, part, pace)
        _apply(store, known)
        state = {each: asdict(calibration) for each, calibration in known.items()}
        content = {"bundle_id": store.identity.bundle_id, "parts": state}
        write_atomically(file, json.dumps(content).encode())


def _has_vectors(store: CaseStore, part: Part) -> bool:
    """Tells whether parts of a kind have vectors: texts have none of a bundle of images alone."""
    sample = store.sample(part)
    return sample is not None and sample.vector is not None


def measured(store: CaseStore, part: Part, pace: Pace) -> Calibration:
    """Returns the least breadth that reaches the target among parts of a kind, or the last."""
    kinds = [kind for kind in PARTS if kind == part or store.count_parts(kind) >= _QUERIES]
    drawn = (list(_drawn(store, kind, _QUERIES, pace)) for kind in kinds)
    queries = [
        _moved(store, part, of_a_kind, pace) if of_a_kind[0].part == part else of_a_kind
        for of_a_kind in drawn
        if of_a_kind
    ]
    points = store.count_parts(part)
    observed = min(1, _HITS * _COMPARED / points) * min(map(len, queries))
    for breadth in LADDER:
        missed = _missed(store, part, breadth, list(chain.from_iterable(queries)), pace)
        by_kind = np.split(missed, np.cumsum([len(of_a_kind) for of_a_kind in queries])[:-1])
        recall = max(0.0, 1 - max(float(of_a_kind.mean()) for of_a_kind in by_kind) / _HITS)
        if _lower_bound(recall, observed) >= TARGET:
            break
    log().info("calibrated", part=part, ef=breadth.ef, recall=round(recall, 4), points=points)
    return Calibration(breadth, recall, points)


def _moved(store: CaseStore, part: Part, points: Sequence[Point], pace: Pace) -> list[Point]:
    """Returns points of vectors that lie as the stored ones do, and that no graph holds."""
    vectors = [point.vector for point in points if point.vector is not None]
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


def _missed(
    store: CaseStore, part: Part, breadth: Breadth, queries: Sequence[Point], pace: Pace
) -> npt.NDArray[np.float64]:
    """Estimates from a sample how many of its ten nearest parts each query misses."""
    asked = np.stack([query.vector for query in queries if query.vector is not None])
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    worst = np.empty(len(queries), np.float32)
    found: list[set[str]] = []
    for number, (query, vector) in enumerate(zip(queries, asked, strict=True)):
        hits = store.nearest(part, vector, _HITS + 1, breadth)
        others = [hit for hit in hits if hit.id != query.id][:_HITS]
        worst[number] = others[-1].score if len(others) == _HITS else -1
        found.append({query.id, *(hit.id for hit in others)})
        pace.rest()
    better, compared = np.zeros(len(queries)), 0
    sample = _drawn(store, part, _COMPARED, pace)
    while page := list(islice(sample, _PAGE)):
        scores = np.stack([point.vector for point in page if point.vector is not None]) @ asked.T
        for row, column in np.argwhere(scores > worst + _ALIKE):
            better[column] += page[row].id not in found[column]
        compared += len(page)
        pace.rest()
    share = min(1, max(1, compared) / max(1, store.count_parts(part)))
    return (better / share).clip(max=max(_HITS, 1 / share))


def _drawn(store: CaseStore, part: Part, number: int, pace: Pace) -> Iterator[Point]:
    """Yields parts that have a vector, at random: ids are hashes, so any that follow each other."""
    start = str(uuid.uuid4())
    from_start = store.parts_from(part, start, _PAGE)
    before = store.parts_from(part, str(uuid.UUID(int=0)), _PAGE)
    until_start = (point for point in before if point.id < start)
    for point in islice(chain(from_start, until_start), number):
        pace.rest()
        if point.vector is not None:
            yield point


def _lower_bound(share: float, observed: float) -> float:
    """Returns the lower bound of Wilson's interval (J. Am. Stat. Assoc. 22, 1927).

    observed: queries, or hits if the sample has fewer. Those that one query misses go together, so
    its ten nearest parts are no ten observations.
    """
    spread = _CONFIDENCE**2 / observed
    half = sqrt(spread * share * (1 - share) + spread**2 / 4)
    return (share + spread / 2 - half) / (1 + spread)


def _run(store: CaseStore, file: Path, ending: threading.Event) -> None:
    pause = _FIRST_LOOK_S
    while not ending.wait(pause):
        try:
            calibrate(store, file, Pace(ending))
        except Ended:
            return
        except Exception as error:  # searches go on as before; the next look tries again
            log().error("calibration failed", error=type(error).__name__)
        pause = _LOOK_EVERY_S


def _apply(store: CaseStore, known: dict[Part, Calibration]) -> None:
    for part, calibration in known.items():
        store.breadths[part] = calibration.breadth
        LIBRARY_EF.labels(part).set(calibration.breadth.ef)
        LIBRARY_RECALL.labels(part).set(calibration.recall)


def _read(store: CaseStore, file: Path) -> dict[Part, Calibration]:
    """Returns what was measured; nothing if the file is missing, damaged or of another bundle."""
    try:
        content = json.loads(file.read_text())
        if content["bundle_id"] != store.identity.bundle_id:
            return {}
        return {
            part: Calibration(**stored | {"breadth": Breadth(**stored["breadth"])})
            for part in PARTS
            if (stored := content["parts"].get(part))
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
