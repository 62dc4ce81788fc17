"""Looks through a whole library for faults: `eclip check`. `repairs.py` repairs them.

Memory stays bounded: points are read in groups, and of renditions' names 8 bytes each are kept.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from pydantic import TypeAdapter, ValidationError

from service.cases.base import CaseStore
from service.cases.grouping import grouped
from service.cases.operations import ALL_POINTS, Selection, records_of
from service.cases.points import PARTS, RECORD, Point, ids_of, to_hit
from service.cases.renditions import WRITERS, Renditions, State
from service.cases.schema import Identity, Study
from service.errors import StoreUnavailable
from service.imaging.deidentify import StudyRef


class Kind(StrEnum):
    """Kinds of faults, by the names that `eclip check --repair` takes."""

    UNREADABLE_POINTS = "unreadable-points"
    UNREADABLE_STUDIES = "unreadable-studies"
    ORPHANED_POINTS = "orphaned-points"
    UNFINISHED_STUDIES = "unfinished-studies"
    MISSING_PARTS = "missing-parts"
    WRONG_VECTORS = "wrong-vectors"
    MISSING_RENDITIONS = "missing-renditions"
    DAMAGED_RENDITIONS = "damaged-renditions"
    ORPHANED_RENDITIONS = "orphaned-renditions"
    MISSING_STUDIES = "missing-studies"


_STUDIES_AT_ONCE = 64
_STATES: dict[State, Kind] = {
    "missing": Kind.MISSING_RENDITIONS,
    "damaged": Kind.DAMAGED_RENDITIONS,
}
_RECORDS = ALL_POINTS.of_part(RECORD)
_STUDY = TypeAdapter(Study)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and what it is about. `number` counts what is at fault."""

    kind: Kind
    study: StudyRef | None = None
    points: Mapping[str, str] = field(default_factory=dict)
    """Ids of the points at fault, each with its part; "" if that is unknown."""
    renditions: tuple[str, ...] = ()
    """Names of the renditions at fault; of an unfinished study those of its record."""
    number: int = 1


def faults(
    store: CaseStore, renditions: Renditions, advance: Callable[[int], None]
) -> Iterator[Fault]:
    """Yields the faults of a library, which nobody else may write meanwhile.

    advance: is called with the number of studies that were looked at. Faults may be repaired as
    they come. Raises StoreUnavailable where the engine does not answer at all.
    """
    total = sum(map(len, store.ids()))
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="rendition") as pool:
        walk = _Walk(store, renditions, pool)
        for ids in store.ids(_RECORDS):
            for group in grouped(ids, _STUDIES_AT_ONCE):
                yield from walk.studies(group)
                advance(len(group))
    if walk.seen != total:
        yield from _points_without_record(store)
    yield from _unnamed(renditions, walk.named)
    if store.tally is not None:
        _, lost = store.tally.compare(store.count)
        if lost:
            yield Fault(Kind.MISSING_STUDIES, number=lost)


@dataclass(slots=True)
class _Walk:
    """Goes through the records in groups, and remembers what it needs for the rest."""

    store: CaseStore
    renditions: Renditions
    pool: ThreadPoolExecutor
    named: "array[int]" = field(default_factory=lambda: array("q"))
    """Hashes of the names of the renditions that records name."""
    seen: int = 0
    """Points that belong to a record, the records included."""

    def studies(self, records: Sequence[str]) -> Iterator[Fault]:
        """Yields the faults of the studies with these records, given by their ids."""
        points, lost = _read(self.store, Selection(ids=records))
        yield from (Fault(Kind.UNREADABLE_STUDIES, points={id: RECORD}) for id in lost)
        studies: list[Study] = []
        for point in points:
            study = _study(point)
            if study is None:
                yield Fault(Kind.UNREADABLE_STUDIES, _reference(point), {point.id: RECORD})
            else:
                studies.append(study)
        self.seen += len(lost) + len(points) - len(studies)
        if studies:
            yield from self._parts(studies)
            yield from self._pictures(studies)

    def _parts(self, studies: Sequence[Study]) -> Iterator[Fault]:
        references = {study.study_id for study in studies}
        points, lost = _read(self.store, Selection(must={"study_id": sorted(references)}))
        self.seen += len(points) + len(lost)
        found, named = {point.id: point for point in points}, set[str]()
        for study in studies:
            ids = ids_of(study)
            named |= ids.keys()
            if study.digest:
                yield from _of_parts(study, ids, found, lost, self.store.identity)
            else:
                references.discard(study.study_id)
                yield Fault(Kind.UNFINISHED_STUDIES, study.study_id, renditions=_names(study))
        unknown = (point for point in points if point.id not in named)
        yield from _orphans(point for point in unknown if _reference(point) in references)
        yield from _unreadable({id: part for id, part in lost.items() if id not in named})

    def _pictures(self, studies: Sequence[Study]) -> Iterator[Fault]:
        shown = [(study, name) for study in studies for name in _names(study)]
        self.named.extend(hash(name) for _, name in shown)
        states = self.pool.map(lambda each: self.renditions.state(each[0].study_id, each[1]), shown)
        for (study, name), state in zip(shown, states, strict=True):
            if state in _STATES and study.digest:
                yield Fault(_STATES[state], study.study_id, renditions=(name,))


def _read(store: CaseStore, selection: Selection) -> tuple[list[Point], dict[str, str]]:
    """Returns the selected points, and of those that the engine cannot read id → part."""
    try:
        return list(store.points(selection)), {}
    except StoreUnavailable:
        store.check()
    ids = [id for page in store.ids(selection) for id in page]
    if len(ids) < 2:
        with suppress(StoreUnavailable):  # an engine that was busy answers now
            return list(store.points(selection)), {}
        return [], {id: _part(store, id) for id in ids}
    halves = (ids[: len(ids) // 2], ids[len(ids) // 2 :])
    (some, lost), (others, lost_too) = (_read(store, Selection(ids=half)) for half in halves)
    return some + others, lost | lost_too


def _part(store: CaseStore, id: str) -> str:
    """Returns a point's part as the engine's index has it; "" if it has none."""
    one = Selection(ids=[id])
    return next((part for part in (*PARTS, RECORD) if any(store.ids(one.of_part(part)))), "")


def _study(record: Point) -> Study | None:
    """Returns the study in a record, or None if the record is damaged."""
    try:
        study = _STUDY.validate_python(record.payload)
    except ValidationError:
        return None
    return study if ids_of(study).get(record.id) == RECORD else None


def _of_parts(
    study: Study,
    ids: Mapping[str, str],
    found: Mapping[str, Point],
    lost: Mapping[str, str],
    identity: Identity,
) -> Iterator[Fault]:
    """Yields the faults of a whole study's parts. ids: as `ids_of`. lost: those not readable."""
    readable = [found[id] for id, part in ids.items() if id in found and _is(found[id], part)]
    there = [id for id in ids if id in found or id in lost]
    unreadable = {id: ids[id] for id in there}
    for point in readable:
        del unreadable[point.id]
    if unreadable:
        yield Fault(Kind.UNREADABLE_POINTS, study.study_id, unreadable, number=len(unreadable))
    if len(there) < len(ids):
        yield Fault(Kind.MISSING_PARTS, study.study_id)
    wrong = {point.id: point.part for point in _wrong_vectors(readable, identity)}
    if wrong:
        yield Fault(Kind.WRONG_VECTORS, study.study_id, wrong)


def _is(point: Point, part: str) -> bool:
    """Tells whether a point has the payload of such a part."""
    if part == RECORD:
        return True
    try:
        return point.part == part and bool(to_hit(point.payload, 0.0))
    except (KeyError, TypeError):
        return False


def _wrong_vectors(parts: Sequence[Point], identity: Identity) -> Iterator[Point]:
    """Yields the parts without their vector. A bundle encodes all texts, or none."""
    encodes_texts = any(part.vector is not None for part in parts if part.part != "image")
    for part in parts:
        if part.vector is not None:
            if not identity.is_unit(part.vector):
                yield part
        elif part.part == "image" or (part.part != RECORD and encodes_texts):
            yield part


def _points_without_record(store: CaseStore) -> Iterator[Fault]:
    for ids in store.ids(Selection(must_not={"part": [RECORD]})):
        points, lost = _read(store, Selection(ids=ids))
        yield from _unreadable(lost)
        references = {reference for point in points if (reference := _reference(point))}
        records, _ = _read(store, records_of(sorted(references))) if references else ([], {})
        stored = {study.study_id for record in records if (study := _study(record))}
        yield from _orphans(point for point in points if _reference(point) not in stored)


def _orphans(points: Iterable[Point]) -> Iterator[Fault]:
    """Yields one fault for the orphaned points of each study, and one for each damaged point."""
    of_study: dict[StudyRef, dict[str, str]] = {}
    for point in points:
        reference = _reference(point)
        if point.part in PARTS and reference:
            of_study.setdefault(reference, {})[point.id] = point.part
        else:
            yield Fault(Kind.UNREADABLE_POINTS, points={point.id: point.part})
    for study, ids in of_study.items():
        yield Fault(Kind.ORPHANED_POINTS, study, ids, number=len(ids))


def _unreadable(points: Mapping[str, str]) -> Iterator[Fault]:
    return (Fault(Kind.UNREADABLE_POINTS, points={id: part}) for id, part in points.items())


def _unnamed(renditions: Renditions, named: "array[int]") -> Iterator[Fault]:
    if named:
        np.frombuffer(named, np.int64).sort()
    for name in renditions.all_names():
        at = bisect_left(named, hash(name))
        if hash(name) not in named[at : at + 1]:
            yield Fault(Kind.ORPHANED_RENDITIONS, renditions=(name,))


def _reference(point: Point) -> StudyRef | None:
    reference = point.payload.get("study_id")
    return StudyRef(reference) if isinstance(reference, str) and reference else None


def _names(study: Study) -> tuple[str, ...]:
    return tuple(dict.fromkeys(image.rendition for image in study.images))
