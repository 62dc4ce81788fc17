"""Enters the embedded library of the earlier build; PYTHONPATH names its checkout first.

The type checker sees the working tree, where these names are others.
"""

from pathlib import Path

from service.cases.edge import EdgeStore
from service.cases.schema import NOBODY, Ask  # type: ignore[attr-defined]
from tests.benchmarks.library.contestants import Contestant
from tests.benchmarks.library.data import DIMENSION, Data, Vectors
from tests.benchmarks.library.stored import (
    BUNDLE,
    FILTERS,
    KEY,
    LOADED,
    WRITTEN,
    number_of,
    studies,
)
from tests.benchmarks.library.truth import K


class Before(Contestant):
    """The library of that build. It optimises its shard once more at the end, as ours does."""

    packages = ("qdrant-edge-py",)
    batch, loaded = WRITTEN, LOADED
    filters = loads = True

    def __init__(self, path: Path, data: Data, *, building: bool) -> None:  # noqa: ARG002
        self._data = data
        self._store = EdgeStore(  # type: ignore[call-arg]
            path, dimension=DIMENSION, bundle_id=BUNDLE, key_fingerprint=KEY
        )

    def add(self, first: int, last: int) -> None:
        self._store.put(list(studies(self._data, first, last)))

    def finish(self) -> None:
        self._store._shard.optimize()  # type: ignore[attr-defined]

    def search(self, vector: Vectors, name: str, effort: int) -> list[int]:  # noqa: ARG002
        ask = Ask("image", vector)
        hits = self._store.search(ask, k=K, where=FILTERS[name], exclude=NOBODY)
        return [number_of(hit.study_id) for hit in hits]

    def close(self) -> None:
        self._store.close()
