"""Stores and searches studies over an engine that keeps points; engines are its subclasses."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import ClassVar

from service.cases.grouping import grouped
from service.cases.operations import (
    ALL_POINTS,
    Operation,
    Remove,
    Selection,
    admitted,
    records_of,
    replacement,
)
from service.cases.points import (
    RECORD,
    Payload,
    Point,
    ScoredPoint,
    to_hit,
    to_points,
    to_study,
    whole_studies,
)
from service.cases.ranking import Nearest, best_of_each_study, diverse, fused, just_below, stable
from service.cases.schema import (
    EVERYTHING,
    CaseFilter,
    EmbeddedStudy,
    Exclusion,
    Facets,
    Hit,
    Identity,
    Part,
    Search,
    Study,
)
from service.cases.tally import Tally
from service.cases.writing import WriteLock
from service.imaging.deidentify import PatientRef, StudyRef

_DIGESTS_A_REQUEST = 1000
"""Studies whose digests are read by one request."""
_STUDIES_A_REQUEST = 64
"""Studies that are read whole, with their vectors, by one request."""
_POINTS_A_REQUEST = 4096
"""Points in one answer of the engine, at most. 64 studies have about a quarter of them."""
_FACETS = {"source": "source", "view": "views", "findings": "findings"}
_VALUES = 1000
"""Values of one facet that are counted: the most frequent."""


class CaseStore(ABC):
    """A collection of studies, written by one bundle and one hash key. Thread-safe.

    Opening a collection of another bundle or key raises BundleMismatch; one of another schema
    version, SchemaMismatch. An engine that does not answer raises StoreUnavailable.

    Writes exclude each other. Reads run at the same time, and may see a study that is being
    replaced: parts of both versions, and a record without a digest.
    """

    erased_within_s: ClassVar[int | None] = None
    """Seconds after which deleted content is in none of the store's files; None if unknown."""

    def __init__(self, identity: Identity, writing: WriteLock) -> None:
        self.identity = identity
        self.writing = writing
        """Held by every write. Whoever must not be disturbed by one holds it too."""
        self.tally: Tally | None = None
        """Where the number of studies is kept, if it is."""

    def put(self, studies: Sequence[EmbeddedStudy], patience_s: float = -1) -> None:
        """Writes whole studies, replacing earlier versions. Durable on return, idempotent.

        One call is one request to the engine: send some hundreds of studies at most. Raises
        ValueError for a vector of another dimension or not of unit length, DeadlineExceeded where
        others write for longer than `patience_s` (-1: no matter how long); then nothing is written.
        """
        latest = {embedded.study.study_id: embedded for embedded in studies}
        points = [point for embedded in latest.values() for point in to_points(embedded)]
        for vector in [point.vector for point in points if point.vector is not None]:
            self.identity.require_unit(vector)
        if points:
            with self.writing.held(patience_s):
                self._write(replacement(list(latest), points))

    def get(self, reference: StudyRef) -> Study | None:
        """Returns the stored study, or None."""
        records = self._select(records_of([reference]), limit=1)
        return to_study(records[0]) if records else None

    def get_many(self, references: Iterable[StudyRef]) -> dict[StudyRef, EmbeddedStudy]:
        """Returns the whole studies among `references` with their vectors, in the order given.

        A study that is unknown, or that is being replaced or deleted, is absent. The engine gets
        one request for each 64 studies, or more if these have thousands of passages.
        """
        return {
            embedded.study.study_id: embedded
            for batch in grouped(dict.fromkeys(references), _STUDIES_A_REQUEST)
            for embedded in whole_studies(batch, self.points(Selection(must={"study_id": batch})))
        }

    def digests(self, references: Iterable[StudyRef]) -> dict[StudyRef, str]:
        """Returns the digests of the studies that are stored whole."""
        return {
            record["study_id"]: record["digest"]
            for batch in grouped(references, _DIGESTS_A_REQUEST)
            for record in self._select(
                records_of(batch), limit=len(batch), fields=["study_id", "digest"]
            )
            if record["digest"]
        }

    def studies(self) -> Iterator[EmbeddedStudy]:
        """Yields every whole study with its vectors; may leave out what is written meanwhile."""
        records = Selection(must={"part": [RECORD]})
        for page in self._pages(records, _STUDIES_A_REQUEST):
            yield from self.get_many(record.payload["study_id"] for record in page).values()

    def points(self, selection: Selection = ALL_POINTS) -> Iterator[Point]:
        """Yields the selected points in order of id, with their dense vectors."""
        for page in self._pages(selection, _POINTS_A_REQUEST):
            yield from page

    def ids(self, selection: Selection = ALL_POINTS) -> Iterator[list[str]]:
        """Yields pages of the selected points' ids, also of points that cannot be read."""
        for page in self._pages(selection, _POINTS_A_REQUEST, bare=True):
            yield [point.id for point in page]

    def sample(self, part: Part) -> Point | None:
        """Returns a stored part with its vector, each time another one; None if there is none."""
        parts = ALL_POINTS.of_part(part)
        for start in (str(uuid.uuid4()), None):
            page, _ = self._page(parts, 1, start)
            if page:
                return page[0]
        return None

    def delete(self, reference: StudyRef) -> bool:
        """Removes every point of the study. Returns False if there was none."""
        points = Selection(must={"study_id": [reference]})
        with self.writing.held():
            stored = self._count(points) > 0
            if stored:
                self.remove(points)
        return stored

    def delete_patient(self, reference: PatientRef) -> None:
        """Removes every point of the patient, also those of a write that was cut short."""
        self.remove(Selection(must={"patient_id": [reference]}))

    def remove(self, points: Selection) -> None:
        """Removes the selected points."""
        with self.writing.held():
            studies = self._count(points.of_part(RECORD)) if self.tally else 0
            with self.tally.deleting(studies) if self.tally else nullcontext():
                self._write([Remove(points)])

    def apply(self, operations: Sequence[Operation]) -> None:
        """Applies operations that neither add nor remove a study, as repairs do."""
        with self.writing.held():
            self._write(operations)

    def search(
        self,
        search: Search,
        *,
        k: int,
        where: CaseFilter,
        exclude: Exclusion,
        min_score: float | None = None,
        group_by_study: bool = False,
    ) -> list[Hit]:
        """Returns the k best parts of one kind, best first; equal scores in order of point id.

        Two libraries of the same studies answer alike, unless more than a thousand parts share the
        score at which the limit cuts.

        min_score: the lowest score of a hit. group_by_study: at most one hit per study. Raises
        ValueError for k under 1 and for a vector of another dimension or not of unit length.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        if search.vector is not None:
            self.identity.require_unit(search.vector)
        selection = admitted(where, exclude)
        if search.words is not None:  # words of reports and of passages share one sparse vector
            selection = selection.of_part(search.target)
        nearest = self._ranking(search, min_score)
        points = (
            best_of_each_study(nearest, self._payloads, selection, k)
            if group_by_study
            else nearest(selection, k)
        )
        payloads = self._payloads([point.id for point in points])
        found = [point for point in points if point.id in payloads]  # not deleted meanwhile
        return [to_hit(payloads[point.id], point.score) for point in found]

    def _ranking(self, search: Search, min_score: float | None = None) -> Nearest:
        """Returns the search as a function of its selection and limit, in a stable order."""
        if search.vector is not None and search.words is not None:
            by_meaning, by_words = replace(search, words=None), replace(search, vector=None)
            rankings = self._ranking(by_meaning), self._ranking(by_words)
            return partial(fused, rankings, min_score or 0.0)
        engine = partial(self._nearest, search, above=just_below(min_score))
        nearest = partial(stable, engine)
        return partial(diverse, nearest, search.diversity) if search.diversity else nearest

    def facets(self, where: CaseFilter) -> Facets:
        """Counts the studies that `where` admits by source, view and finding."""
        records = admitted(where).of_part(RECORD)
        return {
            name: dict(sorted(self._facet(key, records, _VALUES).items()))
            for name, key in _FACETS.items()
        }

    def studies_of(self, reference: PatientRef, most: int | None = None) -> list[Study]:
        """Returns the patient's stored studies; none of them if there are more than `most`."""
        records = Selection(must={"part": [RECORD], "patient_id": [reference]})
        count = self._count(records)
        found = self._select(records, limit=count) if 0 < count <= (most or count) else []
        return [to_study(record) for record in found]

    def count(self, where: CaseFilter = EVERYTHING) -> int:
        """Counts the studies that `where` admits."""
        return self._count(admitted(where).of_part(RECORD))

    @abstractmethod
    def check(self) -> None:
        """Raises StoreUnavailable if the engine does not answer."""

    def check_room(self) -> None:  # noqa: B027 - a server has a disk of its own
        """Raises StoreFull while no study can be written for lack of room."""

    @abstractmethod
    def close(self) -> None:
        """Releases the engine."""

    @abstractmethod
    def _write(self, operations: Sequence[Operation]) -> None:
        """Applies the operations in their order; durable on return."""

    @abstractmethod
    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        """Returns the payloads of the selected points, whole or only some fields of them."""

    @abstractmethod
    def _page(
        self, selection: Selection, limit: int, after: str | None, *, bare: bool = False
    ) -> tuple[list[Point], str | None]:
        """Returns selected points in order of id, with dense vectors, and the next page's start.

        bare: gives the ids alone, and reads neither payloads nor vectors.
        """

    @abstractmethod
    def _nearest(
        self, search: Search, selection: Selection, limit: int, *, above: float | None
    ) -> list[ScoredPoint]:
        """Returns the best of the selected points that score strictly above a bound.

        Payloads are not read here: most of these points are only compared, and not returned.
        The search is by a vector or by words, not by both; a diverse one wants the points' vectors.
        How rare a word is counts among the parts of the search's kind that are stored now.
        """

    @abstractmethod
    def _payloads(self, ids: Sequence[str]) -> dict[str, Payload]:
        """Returns the payloads of these points by id, without those that are not stored."""

    @abstractmethod
    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        """Returns value → exact number of selected points, for the most frequent values."""

    @abstractmethod
    def _count(self, selection: Selection) -> int:
        """Returns the exact number of selected points."""

    def _pages(
        self, selection: Selection, limit: int, *, bare: bool = False
    ) -> Iterator[list[Point]]:
        after: str | None = None
        while True:
            page, after = self._page(selection, limit, after, bare=bare)
            yield page
            if after is None:
                return
