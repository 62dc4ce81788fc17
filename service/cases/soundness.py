"""Tries a library by searches whose answers are known, and by the number of its studies."""

from service.cases.base import CaseStore
from service.cases.points import PARTS
from service.cases.renditions import Renditions
from service.cases.schema import EVERYTHING, NOBODY, Part, Search
from service.errors import StoreUnavailable

_SAME = 0.99
"""Least cosine of a vector and the same one as the engine keeps it."""
_TRIES = 3
"""Samples of a kind; one may be deleted before it is sought."""
_LOOKED_AT = 8
"""Images whose JPEGs are looked for."""
_MOST_MISSING = 0.1
"""Share of the studies; where more are missing the library is not served as whole."""


def require_found(store: CaseStore) -> None:
    """Raises StoreUnavailable unless a stored part of each kind is found by its own vector."""
    for part in PARTS:
        if not any(_found(store, part) for _ in range(_TRIES)):
            raise StoreUnavailable(
                f"A search does not find a {part} that is stored. Restart the server; if that does "
                "not help, restore the library from a backup or index the studies again."
            )


def missing_studies(store: CaseStore) -> str | None:
    """Returns what to say if a few studies are missing, or None.

    Raises StoreUnavailable if they are many.
    """
    stored, lost = store.tally.compare(store.count) if store.tally else (0, 0)
    if not lost:
        return None
    said = (
        f"{lost} of {stored + lost} studies are missing. Restore the library from a backup or "
        "index them again. If they were removed on purpose by another program, delete the file "
        "`.count` of the library in the data directory."
    )
    if lost > _MOST_MISSING * (stored + lost):
        raise StoreUnavailable(said)
    return said


def missing_renditions(store: CaseStore, renditions: Renditions) -> str | None:
    """Looks for the JPEGs of some stored studies; returns what to say if a few are missing.

    Raises StoreUnavailable if half of them are.
    """
    lacking = sum(not _illustrated(store, renditions) for _ in range(_LOOKED_AT))
    if not lacking:
        return None
    said = (
        f"Of {_LOOKED_AT} images of stored studies {lacking} are missing. Restore the renditions "
        "from a backup or index the studies again."
    )
    if lacking >= _LOOKED_AT / 2:
        raise StoreUnavailable(said)
    return said


def _illustrated(store: CaseStore, renditions: Renditions) -> bool:
    sample = store.sample("image")
    study = None if sample is None else store.get(sample.payload["study_id"])
    return study is None or renditions.has_all_of(study)


def _found(store: CaseStore, part: Part) -> bool:
    sample = store.sample(part)
    if sample is None or sample.vector is None:  # a text of a bundle that encodes none
        return True
    search = Search(part, sample.vector)
    hits = store.search(search, k=1, where=EVERYTHING, exclude=NOBODY)
    return bool(hits) and hits[0].score >= _SAME
