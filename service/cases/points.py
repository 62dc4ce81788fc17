"""Studies ↔ points: everything about a case store that does not depend on the engine.

A study becomes one point for each image, report and passage, each holding one named vector, texts
their words too, and the payload a Hit needs, and one *record* without either, which holds the whole
Study.
A study is whole if and only if its record has a digest: a replacement blanks the digest first
and writes the record last, so that a crash in between loses nothing and hides nothing.
"""

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, get_args

import numpy as np

from service.cases.schema import (
    EVERYTHING,
    NOBODY,
    Ask,
    CaseFilter,
    EmbeddedStudy,
    Exclusion,
    Facets,
    Hit,
    Identity,
    Image,
    Part,
    Passage,
    Study,
    Vector,
)
from service.cases.words import Words, stored_words
from service.imaging.deidentify import PatientRef, StudyRef

WORDS = "words"
"""The sparse vector's name."""
PARTS: tuple[Part, ...] = get_args(Part)
INDEXED = ("part", "study_id", "patient_id", "source", "views", "findings", "section")

_NAMESPACE = uuid.UUID("0b6f3a3e-6c1d-5e0e-9d0c-6a1f5c6f2f5b")
_RECORD = "study"
_IDS_A_REQUEST = 1000
_STUDIES_A_REQUEST = 64
"""Studies that are read whole, with their vectors, by one request."""
_POINTS_A_REQUEST = 4096
"""Points in one answer of the engine; 64 studies have about a quarter of them."""
_OVERFETCH = 4
_FACETS = {"source": "source", "view": "views", "findings": "findings"}
_VALUES = 1000
"""Of a facet, the most that are counted."""
CANDIDATES = 100
"""What is fused, or chosen from for diversity: so many, or as many as are wanted."""
RANK_OFFSET = 60
"""Of reciprocal rank fusion, 1 ÷ (60 + rank), as in Cormack, Clarke and Büttcher, SIGIR 2009."""

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """What an engine stores under an id: one vector of the kind `part`, or none for a record."""

    id: str
    part: str
    vector: Vector | None
    payload: Payload
    words: Words | None = None

    @property
    def vectors(self) -> dict[str, list[float]]:
        """The dense vector under its name, as engines take it."""
        return {} if self.vector is None else {self.part: self.vector.tolist()}


@dataclass(frozen=True, slots=True)
class Selection:
    """Points which, for every key, have one of the values of `must` and none of `must_not`.

    Points whose ids are in `spared` are not selected.
    """

    must: Mapping[str, Sequence[str]] = field(default_factory=dict)
    must_not: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spared: Sequence[str] = ()

    def of_part(self, part: str) -> "Selection":
        """Those that are of one kind."""
        return replace(self, must={**self.must, "part": [part]})

    def without_studies(self, study_ids: Iterable[str]) -> "Selection":
        """The same selection less some studies."""
        refused = [*self.must_not.get("study_id", ()), *study_ids]
        return replace(self, must_not={**self.must_not, "study_id": refused}) if refused else self


@dataclass(frozen=True, slots=True)
class Unsettle:
    """Blank the digest of the selected records: their studies are about to be replaced."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the selected points."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write points, records last."""

    points: Sequence[Point]


Operation = Unsettle | Remove | Upsert


@dataclass(frozen=True, slots=True)
class Found:
    """A point that a search found."""

    id: str
    score: float
    payload: Payload


Nearest = Callable[[Selection, int], list[Found]]
"""A search that lacks only its selection and its limit."""


def to_points(embedded: EmbeddedStudy) -> list[Point]:
    """The study's points, parts first and the record last."""
    return [
        *_image_points(embedded),
        *_report_points(embedded),
        *_passage_points(embedded),
        _record_point(embedded.study),
    ]


def _with_vectors(study: Study, vectors: Mapping[str, Vector]) -> EmbeddedStudy:
    """vectors: by point id; raises KeyError where one is missing."""

    def of(part: Part, count: int) -> tuple[Vector, ...]:
        return tuple(vectors[_point_id(study, f"{part}/{index}")] for index in range(count))

    reports = of("report", 1 if study.report else 0)
    images, passages = of("image", len(study.images)), of("passage", len(study.passages))
    return EmbeddedStudy(study, images, reports[0] if reports else None, passages)


def stored_point(id: str, payload: Payload, vectors: Any) -> Point:
    """A point as an engine gives it back; its words follow from its text."""
    dense = vectors.get(payload["part"]) if isinstance(vectors, dict) else None
    vector = None if dense is None else np.asarray(dense, np.float32)
    return Point(id, payload["part"], vector, payload)


def to_study(payload: Payload) -> Study:
    """The Study in a record's payload."""
    values = {name: payload[name] for name in Study.__dataclass_fields__} | {
        "passages": tuple(Passage(**passage) for passage in payload["passages"]),
        "images": tuple(Image(**image) for image in payload["images"]),
        "findings": tuple(payload["findings"]),
    }
    return Study(**values)


def to_hit(found: Found) -> Hit:
    """The Hit in a part's payload."""
    values: Payload = {name: found.payload.get(name) for name in Hit.__dataclass_fields__} | {
        "score": found.score,
        "findings": tuple(found.payload["findings"]),
    }
    return Hit(**values)


def to_selection(where: CaseFilter, exclude: Exclusion = NOBODY) -> Selection:
    """The points a search may return."""
    must = {
        "source": where.source,
        "views": where.view,
        "findings": where.findings,
        "section": where.section,
    }
    must_not = {
        "patient_id": exclude.patient_ids,
        "study_id": (exclude.study_id,) if exclude.study_id else (),
    }
    return Selection(
        must={key: values for key, values in must.items() if values},
        must_not={key: values for key, values in must_not.items() if values},
    )


class PointStore(ABC):
    """A CaseStore over an engine that can write, select, count and rank points.

    Writes of one store exclude each other; reads run beside them, and may see a study that is
    being replaced with parts of both versions and no digest.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._writing = threading.Lock()

    def put(self, studies: Sequence[EmbeddedStudy]) -> None:
        """Write whole studies in one request, replacing earlier versions.

        Raises ValueError, with nothing written, for a vector that is not of this store's
        dimension and unit length.
        """
        latest = {embedded.study.study_id: embedded for embedded in studies}
        points = [point for embedded in latest.values() for point in to_points(embedded)]
        for point in points:
            if point.vector is not None:
                self._require_unit(point.vector)
        if points:
            with self._writing:
                self._write(_replacement(list(latest), points))

    def get(self, study_id: StudyRef) -> Study | None:
        """The stored study, or None."""
        records = self._select(_records_of([study_id]), limit=1)
        return to_study(records[0]) if records else None

    def get_many(self, references: Iterable[StudyRef]) -> dict[StudyRef, EmbeddedStudy]:
        """Returns the whole studies among `references` with their vectors, in the order given.

        A study that is unknown, or that is being replaced or deleted, is absent. The engine gets
        one request for each 64 studies, or more where these have thousands of passages.
        """
        return {
            study.study.study_id: study
            for batch in _chunks(list(dict.fromkeys(references)), _STUDIES_A_REQUEST)
            for study in _whole(batch, self._points(Selection(must={"study_id": batch})))
        }

    def digests(self, study_ids: Iterable[StudyRef]) -> dict[StudyRef, str]:
        """study_id → digest for those that are stored whole."""
        return {
            record["study_id"]: record["digest"]
            for some in _chunks(list(study_ids), _IDS_A_REQUEST)
            for record in self._select(
                _records_of(some), limit=len(some), fields=["study_id", "digest"]
            )
            if record["digest"]
        }

    def studies(self) -> Iterator[EmbeddedStudy]:
        """Every whole study with its vectors; what is written meanwhile may be left out."""
        after: str | None = None
        records = Selection(must={"part": [_RECORD]})
        while True:
            page, after = self._page(records, _STUDIES_A_REQUEST, after)
            yield from self.get_many(record.payload["study_id"] for record in page).values()
            if after is None:
                return

    def delete(self, study_id: StudyRef) -> bool:
        """Remove every point of the study; False when there was none."""
        points = Selection(must={"study_id": [study_id]})
        with self._writing:
            if not self._count(points):
                return False
            self._write([Remove(points)])
        return True

    def delete_patient(self, patient_id: PatientRef) -> None:
        """Remove every point of the patient, those of a write that was cut short too."""
        with self._writing:
            self._write([Remove(Selection(must={"patient_id": [patient_id]}))])

    def search(
        self,
        ask: Ask,
        *,
        k: int,
        where: CaseFilter,
        exclude: Exclusion,
        min_score: float | None = None,
        group_by_study: bool = False,
    ) -> list[Hit]:
        """The k ≥ 1 best parts of one kind, best first, equal scores in order of point id."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        if ask.vector is not None:
            self._require_unit(ask.vector)
        selection = to_selection(where, exclude)
        if ask.words is not None:  # reports and passages have them in one space
            selection = selection.of_part(ask.target)
        nearest = partial(self._nearest, ask, above=_just_below(min_score))
        rank = _best_of_each_study if group_by_study else _best
        return [to_hit(found) for found in rank(nearest, selection, k)]

    def facets(self, where: CaseFilter) -> Facets:
        """How many studies have each source, view and finding, among those that `where` admits."""
        records = to_selection(where).of_part(_RECORD)
        return {
            name: dict(sorted(self._facet(key, records, _VALUES).items()))
            for name, key in _FACETS.items()
        }

    def studies_of(self, patient_id: PatientRef) -> list[Study]:
        """The patient's stored studies."""
        records = Selection(must={"part": [_RECORD], "patient_id": [patient_id]})
        found = self._count(records)
        return [to_study(record) for record in self._select(records, limit=found)] if found else []

    def count(self, where: CaseFilter = EVERYTHING) -> int:
        """Number of studies that `where` admits."""
        return self._count(to_selection(where).of_part(_RECORD))

    @abstractmethod
    def check(self) -> None:
        """Return when the engine answers, else raise StoreUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Release the engine."""

    @abstractmethod
    def _write(self, operations: Sequence[Operation]) -> None:
        """Apply the operations in their order; durable on return."""

    @abstractmethod
    def _select(
        self, selection: Selection, *, limit: int, fields: list[str] | None = None
    ) -> list[Payload]:
        """The payloads, whole or only some fields of them, of the selected points."""

    @abstractmethod
    def _page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[list[Point], str | None]:
        """Selected points in order of id, with their dense vectors, and where to go on, or None."""

    @abstractmethod
    def _nearest(
        self, ask: Ask, selection: Selection, limit: int, *, above: float | None
    ) -> list[Found]:
        """The selected points that answer best and score strictly above a bound."""

    @abstractmethod
    def _facet(self, key: str, selection: Selection, limit: int) -> dict[str, int]:
        """Value → exact number of selected points that have it, the most frequent values."""

    @abstractmethod
    def _count(self, selection: Selection) -> int:
        """The exact number of selected points."""

    def _points(self, selection: Selection) -> Iterator[Point]:
        """Yields the selected points in order of id, with their dense vectors."""
        after: str | None = None
        while True:
            page, after = self._page(selection, _POINTS_A_REQUEST, after)
            yield from page
            if after is None:
                return

    def _require_unit(self, vector: Vector) -> None:
        dimension = self.identity.dimension
        if vector.shape != (dimension,) or not abs(np.linalg.norm(vector) - 1) < 1e-2:
            raise ValueError(
                f"Expected a vector of {dimension} values and unit length, got shape "
                f"{vector.shape} and length {np.linalg.norm(vector):.3g}."
            )


def _whole(references: Iterable[StudyRef], points: Iterable[Point]) -> Iterator[EmbeddedStudy]:
    """Yields those studies whose record has a digest and whose vectors are all there."""
    records: dict[StudyRef, Payload] = {}
    vectors: dict[str, Vector] = {}
    for point in points:
        if point.vector is not None:
            vectors[point.id] = point.vector
        elif point.payload["digest"]:
            records[point.payload["study_id"]] = point.payload
    for reference in references:
        if reference in records:
            with suppress(KeyError):  # replaced or deleted between two pages
                yield _with_vectors(to_study(records[reference]), vectors)


def _image_points(embedded: EmbeddedStudy) -> Iterator[Point]:
    study = embedded.study
    for index, (image, vector) in enumerate(zip(study.images, embedded.image_vectors, strict=True)):
        yield _part_point(study, "image", index, vector, index, views=[image])


def _report_points(embedded: EmbeddedStudy) -> Iterator[Point]:
    study = embedded.study
    if embedded.report_vector is not None:
        yield _text_point(study, "report", 0, embedded.report_vector, text=study.report)


def _passage_points(embedded: EmbeddedStudy) -> Iterator[Point]:
    study = embedded.study
    for index, (passage, vector) in enumerate(
        zip(study.passages, embedded.passage_vectors, strict=True)
    ):
        yield _text_point(
            study,
            "passage",
            index,
            vector,
            text=passage.text,
            passage_id=passage.id,
            section=passage.section,
        )


def _text_point(study: Study, part: Part, index: int, vector: Vector, **payload: Any) -> Point:
    first = 0 if study.images else None
    point = _part_point(study, part, index, vector, first, views=study.images, **payload)
    return replace(point, words=stored_words(payload["text"]))


def _part_point(
    study: Study,
    part: Part,
    index: int,
    vector: Vector,
    shown: int | None,
    *,
    views: Sequence[Image],
    **payload: Any,
) -> Point:
    """A part's point; a Hit shows the image of index `shown`, a filter looks at `views`."""
    payload |= {
        "part": part,
        "study_id": study.study_id,
        "patient_id": study.patient_id,
        "source": study.source,
        "findings": list(study.findings),
        "metadata": study.metadata,
        "image_index": shown,
        "view": None if shown is None else study.images[shown].view,
        "views": _views(views),
    }
    return Point(_point_id(study, f"{part}/{index}"), part, vector, payload)


def _record_point(study: Study) -> Point:
    payload = {"part": _RECORD, "views": _views(study.images), **asdict(study)}
    return Point(_point_id(study, _RECORD), _RECORD, None, payload)


def _views(images: Sequence[Image]) -> list[str]:
    return [image.view for image in images if image.view is not None]


def _point_id(study: Study, part: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\0".join((study.source, study.study_id, part))))


def _records_of(study_ids: Sequence[str]) -> Selection:
    return Selection(must={"part": [_RECORD], "study_id": study_ids})


def _replacement(study_ids: list[str], points: list[Point]) -> list[Operation]:
    stale = Selection(must={"study_id": study_ids}, spared=[point.id for point in points])
    return [Unsettle(_records_of(study_ids)), Remove(stale), Upsert(points)]


def _just_below(min_score: float | None) -> float | None:
    """Engines return what scores strictly above a float32 bound; `min_score` is inclusive."""
    if min_score is None:
        return None
    return float(np.nextafter(np.float32(min_score), np.float32(-np.inf)))


def _best(nearest: Nearest, selection: Selection, k: int) -> list[Found]:
    return sorted(nearest(selection, k), key=lambda found: (-found.score, found.id))


def _best_of_each_study(nearest: Nearest, selection: Selection, k: int) -> list[Found]:
    """Each round asks only for studies that no earlier round found, so k rounds are enough.

    A study found later is no better, whatever its score: ranks that are fused begin anew.
    """
    best: dict[str, Found] = {}
    limit = k * _OVERFETCH
    exhausted = False
    while len(best) < k and not exhausted:
        found = _best(nearest, selection.without_studies(best), limit)
        for one in found:
            best.setdefault(one.payload["study_id"], one)
        exhausted = len(found) < limit
    return list(best.values())[:k]


def _chunks(items: list[StudyRef], size: int) -> Iterator[list[StudyRef]]:
    return (items[start : start + size] for start in range(0, len(items), size))
