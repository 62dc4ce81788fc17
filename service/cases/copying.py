"""From one case library into another: to another engine or place as it is, or to another bundle.

Studies are known by their keyed hashes, so both libraries must have the same key. A copy may be
stopped, killed and run again, as any ingestion.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from service.cases.ingest import BATCH, Outcome, Rejected, ingest
from service.cases.library import CaseLibrary, NewStudy, StudyRecord, rendition_path
from service.cases.schema import EVERYTHING, NOBODY, Ask, EmbeddedStudy, Hit, Study
from service.cases.sources import Entry
from service.cases.store import CaseStore
from service.errors import BundleMismatch, StudyInvalid

NO_IMAGE = StudyInvalid("An image of the study is not on this disk. Put the study again.")


def copy(
    source: CaseStore,
    renditions: Path,
    library: CaseLibrary,
    outcome: Outcome,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Bring the studies that `library` lacks from `source`, whose images lie in `renditions`.

    What the library has of a study stays as it is. Of the same bundle, vectors are taken as they
    are. Else texts are embedded anew, and images from their renditions: an 8-bit JPEG gives nearly,
    not exactly, the vector of its original. Raises BundleMismatch for another hash key.
    """
    theirs, ours = source.identity, library.store.identity
    if theirs.key_fingerprint != ours.key_fingerprint:
        raise BundleMismatch(
            "The two libraries hash identifiers with different keys. Give both the same "
            "identifiers.key before anything is stored."
        )
    lacking = _lacking(source, library.store)
    if theirs == ours:
        _adopt(lacking, renditions, library, outcome, on_progress)
    else:
        entries = (Entry(one.study.study_id, _as_new(one.study, renditions)) for one in lacking)
        ingest(library, entries, outcome, on_progress)


def missing(source: CaseStore, target: CaseStore) -> int:
    """How many studies of `source` the target lacks."""
    return sum(1 for _ in _lacking(source, target))


def _adopt(
    studies: Iterable[EmbeddedStudy],
    renditions: Path,
    library: CaseLibrary,
    outcome: Outcome,
    on_progress: Callable[[int], None],
) -> None:
    remaining, number = iter(studies), 0
    while batch := list(islice(remaining, BATCH)):
        without = library.adopt(batch, renditions)
        for study in without:
            number += 1
            outcome.rejected.append(Rejected(number, study.study_id, NO_IMAGE.detail))
        outcome.stored += len(batch) - len(without)
        on_progress(len(batch))


def _lacking(source: CaseStore, target: CaseStore) -> Iterator[EmbeddedStudy]:
    studies = source.studies()
    while batch := list(islice(studies, BATCH)):
        there = target.digests(one.study.study_id for one in batch)
        yield from (one for one in batch if one.study.study_id not in there)


def searched_alike(source: CaseStore, target: CaseStore, searches: int) -> tuple[int, int]:
    """How many searches, each by a study's report, find the same ten in both, and of how many."""
    reports = [one.report_vector for one in islice(source.studies(), searches)]
    asked = [Ask("report", vector) for vector in reports if vector is not None]
    found = [
        [[hit.study_id for hit in _ten(store, ask)] for store in (source, target)] for ask in asked
    ]
    return sum(one == other for one, other in found), len(found)


def _ten(store: CaseStore, ask: Ask) -> list[Hit]:
    return store.search(ask, k=10, where=EVERYTHING, exclude=NOBODY)


def _as_new(study: Study, renditions: Path) -> NewStudy | StudyInvalid:
    """The study as if its caller sent it again."""
    record = StudyRecord(
        patient_id=study.patient_id,
        source=study.source,
        report=study.report,
        findings=list(study.findings),
        metadata=study.metadata,
    )
    try:
        images = [rendition_path(renditions, i.rendition).read_bytes() for i in study.images]
    except OSError:
        return NO_IMAGE
    return NewStudy(study.study_id, record, tuple(images), tuple(i.view for i in study.images))
