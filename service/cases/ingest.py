"""Bulk ingestion: idempotent, resumable, one bad study harms no other.

Resuming needs no state of its own: a study whose digest the store already holds is skipped.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from service.cases.library import CaseLibrary, NewStudy
from service.cases.schema import Study
from service.cases.sources import Entry
from service.deadline import Deadline
from service.errors import EclipError

BATCH = 16
BATCH_DEADLINE_S = 600.0
AT_ONCE = 2
"""Batches by one encoder: while one is written, the next is encoded."""

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
    outcome: Outcome,
    on_progress: Callable[[int], None] = lambda _: None,
    *,
    at_once: int = AT_ONCE,
) -> None:
    """Ingest every study; `on_progress` is given the number of studies just done.

    at_once: batches between being read and being stored.
    Of an id that comes again the last one stays, as if they were ingested one by one. `outcome`
    tells what was done also where `entries` raises.
    """
    number = 0
    for batch, stored in _in_order(library, _batches(entries, library.pseudonyms.study), at_once):
        results = iter(stored)
        for entry in batch:
            number += 1
            result = next(results) if isinstance(entry.study, NewStudy) else entry.study
            if isinstance(result, EclipError):
                outcome.rejected.append(Rejected(number, entry.place, result.detail))
            else:
                outcome.stored += 1
        on_progress(len(batch))


def _in_order(
    library: CaseLibrary, batches: Iterable[dict[str, Entry]], at_once: int
) -> Iterator[tuple[Sequence[Entry], Stored]]:
    """Each batch with what became of its studies; a study never overtakes its earlier version."""
    running: deque[tuple[dict[str, Entry], Future[Stored]]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="ingest") as pool:
        failure: Exception | None = None
        try:
            for batch in batches:
                while len(running) == at_once or any(batch.keys() & other for other, _ in running):
                    yield _ended(running)
                running.append((batch, pool.submit(_put, library, list(batch.values()))))
        except Exception as error:  # the source's: what was taken of it is told of first
            failure = error
        while running:
            yield _ended(running)
        if failure is not None:
            raise failure


def _ended(
    running: deque[tuple[dict[str, Entry], Future[Stored]]],
) -> tuple[Sequence[Entry], Stored]:
    batch, stored = running.popleft()
    return list(batch.values()), stored.result()


def _put(library: CaseLibrary, batch: Sequence[Entry]) -> Stored:
    studies = [entry.study for entry in batch if isinstance(entry.study, NewStudy)]
    return library.put_many(studies, Deadline(BATCH_DEADLINE_S, bulk=True))


def _batches(
    entries: Iterable[Entry], reference: Callable[[str], str]
) -> Iterator[dict[str, Entry]]:
    """Up to `BATCH` entries by the keyed hash of their study; no batch has a study twice."""
    batch: dict[str, Entry] = {}
    for entry in entries:
        study = entry.study
        key = reference(study.study_id) if isinstance(study, NewStudy) else f"not {entry.place}"
        if key in batch or len(batch) == BATCH:
            yield batch
            batch = {}
        batch[key] = entry
    if batch:
        yield batch
