"""Repairs the faults of a library that `checking.py` finds."""

from service.cases.base import CaseStore
from service.cases.checking import Fault, Kind
from service.cases.operations import BlankDigest, Selection, Upsert, records_of
from service.cases.points import Point
from service.cases.renditions import Renditions

MEANINGS: dict[Kind, str] = {
    Kind.UNREADABLE_POINTS: "images or texts whose entry is damaged",
    Kind.UNREADABLE_STUDIES: "studies whose record is damaged",
    Kind.ORPHANED_POINTS: "images or texts that no readable record of a study names",
    Kind.UNFINISHED_STUDIES: "studies whose writing was cut short, or that a repair marked",
    Kind.MISSING_PARTS: "studies that lack an image's or a text's entry",
    Kind.WRONG_VECTORS: "studies with a vector that is missing or not of unit length",
    Kind.MISSING_RENDITIONS: "images without their JPEG",
    Kind.DAMAGED_RENDITIONS: "images whose JPEG changed or cannot be decoded",
    Kind.ORPHANED_RENDITIONS: "JPEGs that no study names",
    Kind.MISSING_STUDIES: "studies that were counted before and are gone",
}
"""Kind → what a fault of it is."""
REMEDIES: dict[Kind, str] = {
    Kind.UNREADABLE_POINTS: "removes them and marks their studies; then index again",
    Kind.UNREADABLE_STUDIES: "removes the records; their images and texts are orphaned then",
    Kind.ORPHANED_POINTS: "removes them. To have their studies back, index again",
    Kind.UNFINISHED_STUDIES: "removes them. To keep them, index again instead",
    Kind.MISSING_PARTS: "marks the studies; then index again",
    Kind.WRONG_VECTORS: "removes the vectors and marks the studies; then index again",
    Kind.MISSING_RENDITIONS: "marks the studies; then index again",
    Kind.DAMAGED_RENDITIONS: "removes the JPEGs and marks the studies; then index again",
    Kind.ORPHANED_RENDITIONS: "removes them",
    Kind.MISSING_STUDIES: "accepts the loss. To have them back, restore a backup or index again",
}
"""Kind → what its repair does, and what is left to do."""


def repair(fault: Fault, store: CaseStore, renditions: Renditions) -> None:
    """Repairs a fault, as `REMEDIES` says. Durable on return; killed, it may be done again."""
    match fault.kind:
        case Kind.UNREADABLE_STUDIES | Kind.ORPHANED_POINTS:
            _remove(fault, store)
        case Kind.UNFINISHED_STUDIES if fault.study is not None:
            renditions.remove(fault.renditions)
            store.delete(fault.study)
        case Kind.ORPHANED_RENDITIONS:
            renditions.remove(fault.renditions)
        case Kind.MISSING_STUDIES if store.tally is not None:
            store.tally.set(store.count())
        case _:
            if fault.study is not None:
                store.apply([BlankDigest(records_of([fault.study]))])
            _remove(fault, store)
            if fault.kind == Kind.DAMAGED_RENDITIONS:
                renditions.remove(fault.renditions)


def _remove(fault: Fault, store: CaseStore) -> None:
    """Removes the points at fault. An engine cannot delete what it cannot read, so it is replaced.

    The one that replaces a point has nothing but its part.
    """
    if fault.points:
        bare = [Point(id, part, None, {"part": part}) for id, part in fault.points.items()]
        store.apply([Upsert(bare)])
        store.remove(Selection(ids=list(fault.points)))
