"""Enters LanceDB: a table with an index of images, one of reports, and one of each filter.

The index is IVF_HNSW_SQ, which LanceDB's guide names for a high recall at a low latency, with one
partition below a million rows, and its own defaults otherwise. Twice as many hits as are wanted are
ranked again by the whole vectors.
"""

from pathlib import Path

import lancedb  # type: ignore[import-not-found]
import pyarrow as pa

from tests.benchmarks.library.contestants import EFFORTS, Contestant
from tests.benchmarks.library.data import (
    DIMENSION,
    FINDINGS,
    SOURCES,
    VIEWS,
    Data,
    Vectors,
    report,
    source,
)
from tests.benchmarks.library.truth import K

RANKED_AGAIN = 2
WHERE = {
    "all": None,
    "a finding": f"array_has_any(findings, ['{FINDINGS[0]}'])",
    "a view": f"view = '{VIEWS[0]}'",
    "a source": f"source = '{SOURCES[1]}'",
}
HIT = ["number", "patient", "source", "view", "findings", "_distance"]
"""Columns that a search returns: what a hit of our library has."""


class Lance(Contestant):
    """LanceDB, embedded."""

    packages = ("lancedb",)
    efforts = tuple(effort for effort in EFFORTS if effort >= K * RANKED_AGAIN)
    filters = loads = True

    def __init__(self, path: Path, data: Data, *, building: bool) -> None:
        self._data = data
        database = lancedb.connect(path)
        self._table = (
            database.create_table("studies", schema=_rows(data, 0, 1).schema)
            if building
            else database.open_table("studies")
        )

    def add(self, first: int, last: int) -> None:
        self._table.add(_rows(self._data, first, last))

    def finish(self) -> None:
        if self._table.list_indices():
            self._table.optimize()
            return
        for kind in ("image", "report"):
            self._table.create_index(
                metric="cosine", vector_column_name=kind, index_type="IVF_HNSW_SQ"
            )
        for column, kind in (("view", "BITMAP"), ("source", "BITMAP"), ("findings", "LABEL_LIST")):
            self._table.create_scalar_index(column, index_type=kind)

    def search(self, vector: Vectors, name: str, effort: int) -> list[int]:
        search = self._table.search(vector, vector_column_name="image").ef(effort)
        search = search.refine_factor(RANKED_AGAIN).select(HIT).limit(K)
        if WHERE[name]:
            search = search.where(WHERE[name])
        numbers: list[int] = search.to_arrow()["number"].to_pylist()
        return numbers


def _rows(data: Data, first: int, last: int) -> pa.Table:
    facts, numbers = data.facts, range(first, last)
    vectors = {kind: data.vectors(kind, first, last) for kind in ("image", "report")}
    columns = {
        kind: pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), DIMENSION)
        for kind, rows in vectors.items()
    }
    return pa.table(
        {
            "number": pa.array(numbers, pa.int64()),
            "patient": [f"pat_{facts['patient'][number]:032x}" for number in numbers],
            "source": [source(facts, number) for number in numbers],
            "view": [VIEWS[facts["view"][number]] for number in numbers],
            "findings": [[FINDINGS[facts["finding"][number]]] for number in numbers],
            "text": [report(facts, number) for number in numbers],
            **columns,
        }
    )
