"""Says what every contestant of the library benchmark can do, and which there are.

The modules of the contestants need different packages, so each is imported in its own process.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from tests.benchmarks.library.data import QUERIES, Data, Vectors

OURS, BEFORE = "eclip", "731fc6c"
PEERS = ("FAISS HNSW", "hnswlib", "LanceDB")
EXACT = "numpy, exact"
CONTESTANTS = (OURS, BEFORE, *PEERS, EXACT)
"""All in the order of measuring: ours first, since its recall is the goal of the others."""
_CLASSES = {
    OURS: "ours.Ours",
    BEFORE: "before.Before",
    "FAISS HNSW": "graphs.Faiss",
    "hnswlib": "graphs.Hnswlib",
    "LanceDB": "lance.Lance",
    EXACT: "exact.Exact",
}
LINKS, BUILD_EFFORT = 16, 100
"""Links of a study in a graph, and candidates while it is built: those of Qdrant Edge, for FAISS
and hnswlib alike."""
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Candidates of a search in a graph (ef). The first that reaches the goal is taken."""


class Contestant(ABC):
    """An index of studies in a folder, which is opened or, with `building`, made.

    path: the folder. data: has the studies.
    """

    packages: ClassVar[Sequence[str]]
    """Packages whose versions count."""
    batch: ClassVar[int] = 10_000
    """Studies that are added at a time."""
    loaded: ClassVar[int] = 10_000
    """Studies that are added at a time while others are searched."""
    efforts: ClassVar[Sequence[int]] = (0,)
    """What a search may be told, the cheapest first. 0 is for those that choose themselves."""
    filters: ClassVar[bool] = False
    """Whether a search may be filtered."""
    loads: ClassVar[bool] = False
    """Whether studies may be added while others are searched."""
    searches: ClassVar[int] = QUERIES
    """Searches that are counted, at most."""

    @abstractmethod
    def __init__(self, path: Path, data: Data, *, building: bool) -> None: ...

    @abstractmethod
    def add(self, first: int, last: int) -> None:
        """Adds the studies with these numbers, as durably as this contestant can."""

    @abstractmethod
    def finish(self) -> None:
        """Builds the graphs of all that was added."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Does what is done once in the hours after the index was opened."""

    def measured(self) -> Any:
        """Returns what the index itself has measured of its searches."""
        return None

    @abstractmethod
    def search(self, vector: Vectors, name: str, effort: int) -> list[int]:
        """Returns the numbers of the ten studies with the nearest images.

        name: one of FILTERS.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Lets go of the files."""


def contestant(name: str) -> type[Contestant]:
    """Imports the class of a contestant."""
    module, _, cls = _CLASSES[name].partition(".")
    found: type[Contestant] = getattr(import_module(f"tests.benchmarks.library.{module}"), cls)
    return found
