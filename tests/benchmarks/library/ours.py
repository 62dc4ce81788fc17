"""Enters the embedded library of the working tree, and measures what a deletion costs in it."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from service.cases.calibration import calibrate, calibrating
from service.cases.edge import EdgeStore
from service.cases.recall import Pace
from service.cases.schema import NOBODY, Identity, Search
from tests.benchmarks.erasure import searching, written_bytes
from tests.benchmarks.library.contestants import Contestant
from tests.benchmarks.library.data import DIMENSION, Data, Vectors
from tests.benchmarks.library.stored import (
    BUNDLE,
    FILTERS,
    KEY,
    LOADED,
    WRITTEN,
    number_of,
    patient_id,
    studies,
    study_id,
)
from tests.benchmarks.library.truth import K

IDENTITY = Identity(BUNDLE, KEY, DIMENSION)


class Unhurried(Pace):
    """Nobody else waits for the measurement, so it does not rest."""

    def rest(self) -> None:
        """Goes on."""


class Ours(Contestant):
    """The library: built as `eclip index` builds it, then opened and measured as by a server."""

    packages = ("qdrant-edge-py",)
    batch, loaded = WRITTEN, LOADED
    filters = loads = True

    def __init__(self, path: Path, data: Data, *, building: bool) -> None:
        self._data, self._store = data, EdgeStore(path, IDENTITY, bulk=building)
        self._calibration = path / "calibration"

    def add(self, first: int, last: int) -> None:
        self._store.put(list(studies(self._data, first, last)))

    def finish(self) -> None:
        self._store.build_graphs()

    def prepare(self) -> None:
        """Chooses how broadly to search, as a server does in a thread that rests most of the time.

        What was chosen for the library before the load stays chosen during it.
        """
        with calibrating(self._store, self._calibration):
            if not self._calibration.exists():
                calibrate(self._store, self._calibration, Unhurried(threading.Event()))

    def measured(self) -> Any:
        """Returns the breadth and the recall of each kind of search."""
        if not self._calibration.exists():  # a small library is scanned
            return None
        return json.loads(self._calibration.read_text())["searches"]

    def search(self, vector: Vectors, name: str, effort: int) -> list[int]:  # noqa: ARG002
        search = Search("image", vector, vector_of="image")
        hits = self._store.search(search, k=K, where=FILTERS[name], exclude=NOBODY)
        return [number_of(hit.study_id) for hit in hits]

    def close(self) -> None:
        self._store.close()


def deletions(path: Path, data: Data) -> dict[str, dict[str, Any]]:
    """Deletes a study, then the patient with the most studies, and erases each from the files.

    The library has the studies of the load too.
    """
    store = EdgeStore(path, IDENTITY, erases=False)
    theirs = np.bincount(data.facts["patient"][1:])
    patient = int(theirs.argmax())

    def cost(delete: Callable[[], object], count: int) -> dict[str, Any]:
        start = time.perf_counter()
        delete()
        deleted = time.perf_counter()
        written = written_bytes()
        with searching(store, data.asked[0]) as gaps:
            store.erase()
            erased = time.perf_counter()
        return {
            "studies": count,
            "delete_s": deleted - start,
            "erase_s": erased - deleted,
            "written_mb": (written_bytes() - written) / 1e6,
            "longest_gap_ms": 1000 * max(gaps),
        }

    try:
        return {
            "a study": cost(lambda: store.delete(study_id(0)), 1),
            "a patient": cost(
                lambda: store.delete_patient(patient_id(patient)), int(theirs[patient])
            ),
        }
    finally:
        store.close()
