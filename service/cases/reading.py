"""Reads the points of an engine; each engine is a subclass, by way of `service.cases.base`."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from service.cases.breadth import Breadth
from service.cases.operations import ALL_POINTS, Selection
from service.cases.points import Payload, Point, ScoredPoint
from service.cases.schema import Part, Search, Vector, VectorOf

_POINTS_A_REQUEST = 4096
"""Points in one answer of the engine, at most. 64 studies have about a quarter of them."""


class PointReader(ABC):
    """What is asked of an engine's points. Thread-safe."""

    def __init__(self) -> None:
        self.breadths: dict[tuple[VectorOf | None, Part], Breadth] = {}
        """What a query is made of, and the parts it searches → how broadly it does so, where
        `service.cases.calibration` has measured it."""

    def points(self, selection: Selection = ALL_POINTS) -> Iterator[Point]:
        """Yields the selected points with their dense vectors, always in the same order."""
        for page in self._pages(selection, _POINTS_A_REQUEST):
            yield from page

    def ids(self, selection: Selection = ALL_POINTS) -> Iterator[list[str]]:
        """Yields pages of the selected points' ids, also of points that cannot be read."""
        for page in self._pages(selection, _POINTS_A_REQUEST, bare=True):
            yield [point.id for point in page]

    def parts_from(self, part: Part, start: str, at_once: int) -> Iterator[Point]:
        """Yields the parts whose ids begin at `start`, read in pages of `at_once`."""
        for page in self._pages(ALL_POINTS.of_part(part), at_once, start):
            yield from page

    def count_parts(self, part: Part) -> int:
        """Counts the stored parts of a kind."""
        return self._count(ALL_POINTS.of_part(part))

    def sample(self, part: Part) -> Point | None:
        """Returns a stored part with its vector, each time another one; None if there is none."""
        starts = (str(uuid.uuid4()), str(uuid.UUID(int=0)))
        return next((found for start in starts for found in self.parts_from(part, start, 1)), None)

    def nearest(self, part: Part, vector: Vector, k: int, breadth: Breadth) -> list[ScoredPoint]:
        """Returns the k nearest parts, as a search of this breadth finds them."""
        search = Search(part, vector, breadth=breadth)
        return self._nearest(search, ALL_POINTS, k, above=None)

    @abstractmethod
    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        """Returns the payloads of the selected points, whole or only some fields of them."""

    @abstractmethod
    def _pages(
        self,
        selection: Selection,
        limit: int,
        start: str | None = None,
        *,
        bare: bool = False,
    ) -> Iterator[list[Point]]:
        """Yields pages of the selected points, always in the same order, with dense vectors.

        start: the lowest id of a point. bare: gives the ids alone, and reads neither payloads nor
        vectors.
        """

    @abstractmethod
    def _nearest(
        self, search: Search, selection: Selection, limit: int, *, above: float | None
    ) -> list[ScoredPoint]:
        """Returns the best of the selected points that score strictly above a bound.

        A score is the cosine with the stored vector, however roughly the point was found.
        Payloads are not read here: most of these points are only compared, and not returned.
        The search is by a vector or by words, not by both; a diverse one wants the points' vectors.
        How rare a word is counts among the parts of the search's kind that are stored now.
        """

    @abstractmethod
    def _payloads(
        self, kind: str, ids: Sequence[str], *, fields: list[str] | None = None
    ) -> dict[str, Payload]:
        """Returns payloads of stored points of a kind by id, whole or only some fields."""

    @abstractmethod
    def in_graphs(self, part: Part) -> int:
        """Returns how many vectors of a kind lie in graphs, at most; the rest is scanned."""

    @abstractmethod
    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        """Returns value → exact number of selected points, for the most frequent values."""

    @abstractmethod
    def _count(self, selection: Selection) -> int:
        """Returns the exact number of selected points."""


def each_page(
    page_from: Callable[[str | None], tuple[list[Point], str | None]], start: str | None
) -> Iterator[list[Point]]:
    """Yields page after page, none of them empty.

    page_from: returns the page that begins at an id, and the next page's first id.
    """
    while True:
        page, start = page_from(start)
        if page:
            yield page
        if start is None:
            return
