"""Searches a library as broadly as was measured in it, and measures again as it grows."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service.cases.base import CaseStore
from service.cases.breadth import LADDER, Breadth
from service.cases.points import PARTS
from service.cases.recall import Ended, Pace, least_breadths
from service.cases.schema import Part, VectorOf
from service.files import write_atomically
from service.telemetry import LIBRARY_EF, LIBRARY_RECALL, log

_GROWTH = 2
"""Times as many parts, or as few, after which a library is measured again."""
_IN_GRAPHS = 0.9
"""Share of the vectors that must lie in graphs: a scan would flatter the breadth."""
_LOOK_EVERY_S = 600.0
"""Seconds between two looks whether a measurement is due."""
_FIRST_LOOK_S = 30.0
"""Seconds until the first one, in which the service starts."""
_PATIENCE_S = 2.0
"""Seconds that closing waits for a call of the engine that is under way."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How broadly a kind of query searches a kind of parts, and what that was measured to find."""

    vector_of: VectorOf
    part: Part
    breadth: Breadth
    recall: float
    """Recall@10; by texts that of reports or of passages, whichever find less."""
    points: int
    """Parts that the library had."""

    def is_due(self, points: int) -> bool:
        """Tells whether a library that has so many parts now is to be measured again."""
        return not self.points / _GROWTH < points < self.points * _GROWTH


@dataclass(frozen=True, slots=True)
class _Kept:
    """Content of the file."""

    bundle_id: str
    searches: list[Calibration]


_FILE = TypeAdapter(_Kept)


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
        earlier = [each for each in known if each.part == part]
        if earlier and not any(each.is_due(points) for each in earlier):
            continue
        if not _has_vectors(store, part) or store.in_graphs(part) < _IN_GRAPHS * points:
            continue
        found = [
            Calibration(made, part, breadth, recall, points)
            for made, (breadth, recall) in least_breadths(store, part, pace).items()
        ]
        known = [each for each in known if each not in earlier] + found
        _apply(store, found)
        write_atomically(file, _FILE.dump_json(_Kept(store.identity.bundle_id, known)))


def _has_vectors(store: CaseStore, part: Part) -> bool:
    """Tells whether parts of a kind have vectors: texts have none of a bundle of images alone."""
    sample = store.sample(part)
    return sample is not None and sample.vector is not None


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


def _apply(store: CaseStore, known: list[Calibration]) -> None:
    for each in known:
        store.breadths[each.vector_of, each.part] = each.breadth
        LIBRARY_EF.labels(each.vector_of, each.part).set(each.breadth.ef)
        LIBRARY_RECALL.labels(each.vector_of, each.part).set(each.recall)


def _read(store: CaseStore, file: Path) -> list[Calibration]:
    """Returns what was measured; nothing if the file is missing, damaged or of another bundle."""
    try:
        kept = _FILE.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return []
    ours = kept.bundle_id == store.identity.bundle_id
    return kept.searches if ours and all(each.breadth in LADDER for each in kept.searches) else []
