"""Bulk ingestion: idempotent, resumable, one bad study harms no other.

Resuming needs no state of its own: a study whose digest the store already holds is skipped.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from service.cases.library import CaseLibrary, NewStudy
from service.cases.schema import Study
from service.cases.sources import Entry
from service.errors import EclipError
from service.inference.batching import Deadline

BATCH = 16
BATCH_DEADLINE_S = 600.0
AT_ONCE = 2
"""Batches: while one is written, the next is encoded."""

Stored = list[Study | EclipError]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A study that was not ingested: which one of its source, where it stands there, and why."""

    number: int
    place: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """What an ingestion did."""

    stored: int = 0
    rejected: list[Rejected] = field(default_factory=list)


def ingest(
    library: CaseLibrary,
    entries: Iterable[Entry],
    on_progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Ingest every study; `on_progress` is given the number of studies just done.

    Of an id that comes again the last one stays, as if they were ingested one by one.
    """
    outcome, number = Outcome(), 0
    for batch, stored in _in_order(library, _batches(entries)):
        results = iter(stored)
        for entry in batch:
            number += 1
            result = next(results) if isinstance(entry.study, NewStudy) else entry.study
            if isinstance(result, EclipError):
                outcome.rejected.append(Rejected(number, entry.place, result.detail))
            else:
                outcome.stored += 1
        on_progress(len(batch))
    return outcome


def _in_order(
    library: CaseLibrary, batches: Iterable[list[Entry]]
) -> Iterator[tuple[list[Entry], Stored]]:
    """Each batch with what became of its studies; a study never overtakes its earlier version."""
    running: deque[tuple[list[Entry], Future[Stored]]] = deque()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ingest") as pool:
        for batch in batches:
            while len(running) == AT_ONCE or any(_share(batch, other) for other, _ in running):
                yield _ended(running)
            running.append((batch, pool.submit(_put, library, batch)))
        while running:
            yield _ended(running)


def _ended(
    running: deque[tuple[list[Entry], Future[Stored]]],
) -> tuple[list[Entry], Stored]:
    batch, stored = running.popleft()
    return batch, stored.result()


def _put(library: CaseLibrary, batch: list[Entry]) -> Stored:
    studies = [entry.study for entry in batch if isinstance(entry.study, NewStudy)]
    return library.put_many(studies, Deadline(BATCH_DEADLINE_S, bulk=True))


def _share(one: list[Entry], other: list[Entry]) -> bool:
    return not _ids(one).isdisjoint(_ids(other))


def _ids(batch: list[Entry]) -> set[str]:
    return {entry.study.study_id for entry in batch if isinstance(entry.study, NewStudy)}


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    remaining = iter(entries)
    while batch := list(islice(remaining, BATCH)):
        yield batch
