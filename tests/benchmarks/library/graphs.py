"""Enters FAISS and hnswlib: vectors and links in memory, a file when they are built.

Each has one graph of images and one of reports, as a library has. They know no payload and no
filter, and neither lets one thread add while another searches.
"""

import os
from pathlib import Path
from typing import Any

import faiss  # type: ignore[import-not-found]
import hnswlib  # type: ignore[import-untyped]

from tests.benchmarks.library.contestants import BUILD_EFFORT, EFFORTS, LINKS, Contestant
from tests.benchmarks.library.data import DIMENSION, Data, Vectors
from tests.benchmarks.library.truth import K

KINDS = ("image", "report")


class Faiss(Contestant):
    """FAISS's IndexHNSWFlat, built by all cores, searched by one."""

    packages = ("faiss-cpu",)
    efforts = EFFORTS

    def __init__(self, path: Path, data: Data, *, building: bool) -> None:
        self._files, self._data = {kind: str(path / kind) for kind in KINDS}, data
        self._graphs: dict[str, Any] = {}
        for kind, file in self._files.items():
            self._graphs[kind] = self._new() if building else faiss.read_index(file)
        faiss.omp_set_num_threads((os.cpu_count() or 1) if building else 1)

    def _new(self) -> Any:
        graph = faiss.IndexHNSWFlat(DIMENSION, LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = BUILD_EFFORT
        return graph

    def add(self, first: int, last: int) -> None:
        for kind, graph in self._graphs.items():
            graph.add(self._data.vectors(kind, first, last))

    def finish(self) -> None:
        for kind, graph in self._graphs.items():
            faiss.write_index(graph, self._files[kind])

    def search(self, vector: Vectors, name: str, effort: int) -> list[int]:  # noqa: ARG002
        graph = self._graphs["image"]
        graph.hnsw.efSearch = effort
        numbers: list[int] = graph.search(vector[None], K)[1][0].tolist()
        return numbers


class Hnswlib(Contestant):
    """hnswlib's Index, built by all cores, searched by one."""

    packages = ("hnswlib",)
    efforts = EFFORTS

    def __init__(self, path: Path, data: Data, *, building: bool) -> None:
        self._files, self._data = {kind: str(path / kind) for kind in KINDS}, data
        self._graphs = {kind: hnswlib.Index("ip", DIMENSION) for kind in KINDS}
        for kind, graph in self._graphs.items():
            if building:
                graph.init_index(data.size, ef_construction=BUILD_EFFORT, M=LINKS)
            else:
                graph.load_index(self._files[kind])
                graph.set_num_threads(1)

    def add(self, first: int, last: int) -> None:
        for kind, graph in self._graphs.items():
            graph.add_items(self._data.vectors(kind, first, last), range(first, last))

    def finish(self) -> None:
        for kind, graph in self._graphs.items():
            graph.save_index(self._files[kind])

    def search(self, vector: Vectors, name: str, effort: int) -> list[int]:  # noqa: ARG002
        graph = self._graphs["image"]
        graph.set_ef(effort)
        numbers: list[int] = graph.knn_query(vector, K)[0][0].tolist()
        return numbers
