"""Stores and searches studies over an engine that keeps points; engines are its subclasses."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import ClassVar

from service.cases.breadth import SUREST
from service.cases.grouping import grouped
from service.cases.operations import (
    Operation,
    Remove,
    Selection,
    admitted,
    records_of,
    replacement,
)
from service.cases.points import (
    RECORD,
    to_hit,
    to_points,
    to_study,
    whole_studies,
)
from service.cases.ranking import best_of_each_study, ranking_of
from service.cases.reading import PointReader
from service.cases.schema import (
    EVERYTHING,
    CaseFilter,
    EmbeddedStudy,
    Exclusion,
    Facets,
    Hit,
    Identity,
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
_FACETS = {"source": "source", "view": "views", "findings": "findings"}
_VALUES = 1000
"""Values of one facet that are counted: the most frequent."""


class CaseStore(PointReader):
    """A collection of studies, written by one bundle and one hash key. Thread-safe.

    Opening a collection of another bundle or key raises BundleMismatch; one of another schema
    version, SchemaMismatch. An engine that does not answer raises StoreUnavailable.

    Writes exclude each other. Reads run at the same time, and may see a study that is being
    replaced: parts of both versions, and a record without a digest.
    """

    erased_within_s: ClassVar[int | None] = None
    """Seconds after which deleted content is in none of the store's files; None if unknown."""

    def __init__(self, identity: Identity, writing: WriteLock) -> None:
        super().__init__()
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

        A study that is unknown, or that is being replaced or deleted, is absent.
        """
        return {
            embedded.study.study_id: embedded
            for batch in grouped(dict.fromkeys(references), _STUDIES_A_REQUEST)
            for embedded in self._whole(batch)
        }

    def _whole(self, references: Sequence[StudyRef]) -> list[EmbeddedStudy]:
        """Returns the whole studies among these, without those that were replaced meanwhile."""
        points = self.points(Selection(must={"study_id": references}))
        found = list(whole_studies(references, points))
        digests = self.digests(each.study.study_id for each in found)
        return [each for each in found if digests.get(each.study.study_id) == each.study.digest]

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

    def references(self) -> Iterator[StudyRef]:
        """Yields the references of the whole studies."""
        for record in self.points(Selection(must={"part": [RECORD]})):
            if record.payload["digest"]:
                yield record.payload["study_id"]

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
        """Removes the selected points. Raises ValueError for a selection of all there are."""
        if not (points.must or points.ids):
            raise ValueError("Select the points to remove by a key or by their ids.")
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
        breadth = self.breadths.get((search.vector_of, search.target), SUREST)
        search = replace(search, breadth=breadth.filtered() if selection.must else breadth)
        if search.words is not None:  # words of reports and of passages share one sparse vector
            selection = selection.of_part(search.target)
        nearest = ranking_of(search, self._nearest, min_score)
        read = partial(self._payloads, search.target)
        points = (
            best_of_each_study(nearest, partial(read, fields=["study_id"]), selection, k)
            if group_by_study
            else nearest(selection, k)
        )
        payloads = read([point.id for point in points])
        found = [point for point in points if point.id in payloads]  # not deleted meanwhile
        return [to_hit(payloads[point.id], point.score) for point in found]

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

    def check_room(self) -> None:
        """Raises StoreFull while no study can be written for lack of room."""

    def build_graphs(self) -> None:
        """Builds what searches are faster with, after much was written."""

    @abstractmethod
    def close(self) -> None:
        """Releases the engine."""

    @abstractmethod
    def _write(self, operations: Sequence[Operation]) -> None:
        """Applies the operations in their order; durable on return."""
