"""Ingests studies in bulk: idempotent and resumable; a bad study harms no other.

Resuming needs no state: a study whose digest the store already holds is skipped.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from service.cases.library import CaseLibrary
from service.cases.records import NewStudy
from service.cases.schema import Study
from service.cases.sources import Entry, Source
from service.deadline import Deadline
from service.errors import EclipError
from service.imaging.deidentify import Pseudonymiser, StudyRef
from service.telemetry import request_stages

BATCH = 16
"""Studies that are put in one call, at most."""
BATCH_BYTES = 64 * 2**20
"""Bytes of images with which a batch is full. They bound the memory held."""
BATCH_DEADLINE_S = 600.0
"""Seconds that one batch may take."""
AT_ONCE = 3
"""Batches in progress for one encoder: while one is written, others are encoded and decoded."""

_PASSING = frozenset({429, 502, 503, 504, 507})
"""HTTP status of errors that say nothing of the study: busy, unavailable, too late, full."""

Results = Mapping[StudyRef, Study | EclipError]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A study that was not stored. `number` counts the source's studies from 1."""

    number: int
    place: str
    """Where the source has the study: a line, a row, a file."""
    reason: str
    passing: bool = False
    """Whether the cause lies outside of the study, such as a full disk, and may pass."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an ingestion, or one batch of it, did."""

    stored: int = 0
    rejected: tuple[Rejected, ...] = ()
    passed: Mapping[str, int] = field(default_factory=dict)
    """Files and lines of the source that are no study: reason → how many."""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Stage → seconds that batches spent in it and waited for it; see `_seconds`."""

    @property
    def studies(self) -> int:
        """Number of studies that were stored or rejected."""
        return self.stored + len(self.rejected)

    @property
    def limit(self) -> str | None:
        """The stage with the most `seconds`, which limits the speed; None if nothing was done."""
        return max(self.seconds, key=self.seconds.__getitem__, default=None)


def ingest_source(
    library: CaseLibrary, source: Source, *, at_once: int = AT_ONCE
) -> Iterator[Outcome]:
    """Ingests a source. Yields the outcome of each batch, then what the source passed over."""
    yield from ingest_in_batches(library, source.entries, at_once=at_once)
    yield Outcome(passed={reason: count for reason, count in source.passed.items() if count})


def ingest(library: CaseLibrary, entries: Iterable[Entry], *, at_once: int = AT_ONCE) -> Outcome:
    """Ingests every study and returns what was done; see `ingest_in_batches`."""
    return total(ingest_in_batches(library, entries, at_once=at_once))


def ingest_in_batches(
    library: CaseLibrary, entries: Iterable[Entry], *, at_once: int = AT_ONCE
) -> Iterator[Outcome]:
    """Ingests studies and yields the outcome of each batch, in order.

    Of an id that comes again the last study stays, as if they were ingested one by one. If
    `entries` raises, or the user interrupts, what is in progress is stored and yielded first.

    at_once: batches that are between being read and being stored.
    """
    first = 1
    batches = _batches(entries, library.pseudonyms)
    for batch, stored in _stored_in_order(library, batches, at_once):
        places = [entry.place for entry in batch.entries]
        outcome = outcome_of(first, places, batch.results(stored.results))
        del batch  # its images, before the next one is awaited
        yield replace(outcome, seconds=stored.seconds)
        first += len(places)


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """Returns the outcome of all batches together."""
    stored, rejected, passed = 0, list[Rejected](), Counter[str]()
    seconds: dict[str, float] = {}
    for outcome in outcomes:
        stored += outcome.stored
        rejected += outcome.rejected
        passed.update(outcome.passed)
        for stage, spent in outcome.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    return Outcome(stored, tuple(rejected), dict(passed), seconds)


def outcome_of(first: int, places: Sequence[str], results: Sequence[Study | EclipError]) -> Outcome:
    """Returns the outcome of a batch whose first study has the number `first`."""
    rejected = tuple(
        Rejected(number, place, result.detail, result.status in _PASSING)
        for number, (place, result) in enumerate(zip(places, results, strict=True), first)
        if isinstance(result, EclipError)
    )
    return Outcome(len(results) - len(rejected), rejected)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Consecutive entries of a source and their studies; none comes twice."""

    entries: list[Entry] = field(default_factory=list)
    studies: dict[StudyRef, NewStudy] = field(default_factory=dict)

    def results(self, stored: Results) -> list[Study | EclipError]:
        """Returns one result per entry, given those of the studies in their order."""
        results = iter(stored.values())
        return [
            next(results) if isinstance(entry.study, NewStudy) else entry.study
            for entry in self.entries
        ]

    @property
    def full(self) -> bool:
        """Whether it takes no further study."""
        images = (image for study in self.studies.values() for image in study.images)
        return len(self.entries) == BATCH or sum(map(len, images)) >= BATCH_BYTES


class _Stored(NamedTuple):
    """What became of a batch's studies, and the seconds that it spent in each stage."""

    results: Results
    seconds: Mapping[str, float]


_Running = deque[tuple[_Batch, Future[_Stored]]]


def _batches(entries: Iterable[Entry], pseudonyms: Pseudonymiser) -> Iterator[_Batch]:
    """Yields batches; the last one also if `entries` raises a typed error, which follows."""
    batch, failure = _Batch(), None
    try:
        for entry in entries:
            if isinstance(entry.study, NewStudy):
                reference = pseudonyms.study(entry.study.study_id)
                if reference in batch.studies:
                    yield batch
                    batch = _Batch()
                batch.studies[reference] = entry.study
            batch.entries.append(entry)
            if batch.full:
                yield batch
                batch = _Batch()
    except EclipError as error:
        failure = error
    if batch.entries:
        yield batch
    if failure is not None:
        raise failure


def _stored_in_order(
    library: CaseLibrary, batches: Iterable[_Batch], at_once: int
) -> Iterator[tuple[_Batch, _Stored]]:
    """Yields each batch with what became of it. A study never overtakes its earlier version.

    The next batch is read while `at_once` are in progress.
    """
    running: _Running = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="ingest") as pool:
        try:
            begun = time.perf_counter()
            for batch in batches:
                reading_s = time.perf_counter() - begun
                while len(running) == at_once or _shares_a_study(batch, running):
                    yield _oldest(running)
                running.append((batch, pool.submit(_put, library, batch, reading_s)))
                begun = time.perf_counter()
            while running:
                yield _oldest(running)
        except (Exception, KeyboardInterrupt):  # first yield what was read before it
            while running:
                yield _oldest(running)
            raise


def _shares_a_study(batch: _Batch, running: _Running) -> bool:
    return any(batch.studies.keys() & other.studies.keys() for other, _ in running)


def _oldest(running: _Running) -> tuple[_Batch, _Stored]:
    wait([running[0][1]])  # an interrupt leaves it there
    batch, stored = running.popleft()
    return batch, stored.result()


def _put(library: CaseLibrary, batch: _Batch, reading_s: float) -> _Stored:
    begun = time.perf_counter()
    with request_stages() as stages:
        results = library.put_referenced(batch.studies, Deadline(BATCH_DEADLINE_S, bulk=True))
    return _Stored(results, _seconds(reading_s, time.perf_counter() - begun, stages))


def _seconds(reading_s: float, put_s: float, stages: Mapping[str, float]) -> dict[str, float]:
    """Divides the seconds of a batch into reading, decoding, encoding and writing.

    Reading is the files, and what the library holds of them; decoding is all until pixels are
    queued for the tower. Where no image is decoded in this process, as on a cluster, it counts as
    encoding.
    """
    compared, written = stages.get("compare", 0.0), stages.get("write", 0.0)
    encoded = stages.get("queue", 0.0) + stages.get("infer", 0.0)
    rest = max(0.0, put_s - compared - encoded - written)
    decoded = rest if "decode" in stages else 0.0
    return {
        "reading": reading_s + compared,
        "decoding": decoded,
        "encoding": encoded + rest - decoded,
        "writing": written,
    }
