"""Turns a study into the points that an engine stores, and points back into studies and hits.

Each study is several points: one per image, report and passage (a dense vector; text points also a
sparse vector of their words), plus one *record* that holds the whole Study and no vector. With a
bundle that encodes no texts, text points have the sparse vector alone.
A study is whole if and only if its record has a digest.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from service.cases.schema import EmbeddedStudy, Hit, Image, Part, Passage, Study, Vector
from service.cases.words import Words, stored_words
from service.errors import StoreUnavailable
from service.imaging.deidentify import StudyRef

WORDS = "words"
"""Name of the sparse vector."""
PARTS: tuple[Part, ...] = get_args(Part)
"""Names of the dense vectors, one per kind of part."""
RECORD = "study"
"""`part` of a record point."""
INDEXED = ("part", "study_id", "patient_id", "source", "views", "findings", "section")
"""Payload keys that an engine indexes, because searches and deletions select by them."""
_NAMESPACE = uuid.UUID("0b6f3a3e-6c1d-5e0e-9d0c-6a1f5c6f2f5b")

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """What an engine stores under an id: at most one dense vector, of the kind `part`."""

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
class ScoredPoint:
    """A point that a search returned; `vector` where the search is diverse."""

    id: str
    score: float
    vector: Vector | None = None


def to_points(embedded: EmbeddedStudy) -> list[Point]:
    """Returns the study's points, parts first and the record last."""
    return [
        *_image_points(embedded),
        *_report_points(embedded),
        *_passage_points(embedded),
        _record_point(embedded.study),
    ]


def stored_point(id: str, payload: Payload, vectors: Any) -> Point:
    """Returns a point as an engine gave it back, without the sparse vector.

    Its part is "" where the payload is missing or damaged.
    """
    part = payload.get("part", "")
    return Point(id, part, dense(vectors, part), payload)


def dense(vectors: Any, part: str) -> Vector | None:
    """Returns the dense vector of this name among those that an engine gave back, or None."""
    values = vectors.get(part) if isinstance(vectors, dict) else None
    return None if values is None else np.asarray(values, np.float32)


def to_study(payload: Payload) -> Study:
    """Returns the Study in a record's payload. Raises StoreUnavailable for a damaged one."""
    try:
        return _to_study(payload)
    except (KeyError, TypeError) as error:
        raise StoreUnavailable(
            "The record of a study is damaged. `eclip check` names the study and how to repair it."
        ) from error


def _to_study(payload: Payload) -> Study:
    stored = Study.__dataclass_fields__.keys() & payload.keys()  # old ones have no moment
    values = {name: payload[name] for name in stored} | {
        "passages": tuple(Passage(**passage) for passage in payload["passages"]),
        "images": tuple(Image(**image) for image in payload["images"]),
        "findings": tuple(payload["findings"]),
    }
    return Study(**values)


def ids_of(study: Study) -> dict[str, str]:
    """Returns the ids of all the study's points, each with its part; the record is last."""
    counts = {
        "image": len(study.images),
        "report": 1 if study.report else 0,
        "passage": len(study.passages),
    }
    parts = {
        _point_id(study, f"{part}/{index}"): part
        for part, count in counts.items()
        for index in range(count)
    }
    return {**parts, _point_id(study, RECORD): RECORD}


def to_hit(payload: Payload, score: float) -> Hit:
    """Returns the Hit in a part's payload."""
    values: Payload = {name: payload.get(name) for name in Hit.__dataclass_fields__} | {
        "score": score,
        "findings": tuple(payload["findings"]),
    }
    return Hit(**values)


def whole_studies(
    references: Iterable[StudyRef], points: Iterable[Point]
) -> Iterator[EmbeddedStudy]:
    """Yields those studies whose record has a digest and whose other points are all there."""
    records: dict[StudyRef, Payload] = {}
    vectors: dict[str, Vector | None] = {}
    for point in points:
        if point.part != RECORD:
            vectors[point.id] = point.vector
        elif point.payload["digest"]:
            records[point.payload["study_id"]] = point.payload
    for reference in references:
        if reference in records:
            with suppress(KeyError):  # replaced or deleted between two requests
                yield _with_vectors(to_study(records[reference]), vectors)


def _with_vectors(study: Study, vectors: Mapping[str, Vector | None]) -> EmbeddedStudy:
    """vectors: by point id, None for a text without one. Raises KeyError if a point is missing.

    Either all texts of a kind have a vector, or none has, as the bundle encodes texts or not.
    """

    def of(part: Part, count: int) -> tuple[Vector, ...]:
        found = [vectors[_point_id(study, f"{part}/{index}")] for index in range(count)]
        given = tuple(vector for vector in found if vector is not None)
        if len(given) < count and (given or part == "image"):
            raise KeyError(part)
        return given

    reports = of("report", 1 if study.report else 0)
    images, passages = of("image", len(study.images)), of("passage", len(study.passages))
    return EmbeddedStudy(study, images, reports[0] if reports else None, passages)


def _image_points(embedded: EmbeddedStudy) -> Iterator[Point]:
    study = embedded.study
    for index, (image, vector) in enumerate(zip(study.images, embedded.image_vectors, strict=True)):
        yield _part_point(study, "image", index, vector, index, views=[image])


def _report_points(embedded: EmbeddedStudy) -> Iterator[Point]:
    study = embedded.study
    if study.report:
        yield _text_point(study, "report", 0, embedded.report_vector, text=study.report)


def _passage_points(embedded: EmbeddedStudy) -> Iterator[Point]:
    study = embedded.study
    vectors = embedded.passage_vectors or (None,) * len(study.passages)
    for index, (passage, vector) in enumerate(zip(study.passages, vectors, strict=True)):
        yield _text_point(
            study,
            "passage",
            index,
            vector,
            text=passage.text,
            passage_id=passage.id,
            section=passage.section,
        )


def _text_point(
    study: Study, part: Part, index: int, vector: Vector | None, **payload: Any
) -> Point:
    first = 0 if study.images else None
    point = _part_point(study, part, index, vector, first, views=study.images, **payload)
    return replace(point, words=stored_words(payload["text"]))


def _part_point(
    study: Study,
    part: Part,
    index: int,
    vector: Vector | None,
    shown: int | None,
    *,
    views: Sequence[Image],
    **payload: Any,
) -> Point:
    """shown: index of the image that a Hit shows. views: images that a filter looks at."""
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
    payload = {
        "part": RECORD,
        "views": _views(study.images),
        **_fields(study),
        "images": [*map(_fields, study.images)],
        "passages": [*map(_fields, study.passages)],
        "findings": list(study.findings),
    }
    return Point(_point_id(study, RECORD), RECORD, None, payload)


def _fields(each: Study | Image | Passage) -> Payload:
    """Returns fields by name. `dataclasses.asdict` would copy their values, for each study."""
    return {name: getattr(each, name) for name in each.__dataclass_fields__}


def _views(images: Sequence[Image]) -> list[str]:
    return [image.view for image in images if image.view is not None]


def _point_id(study: Study, part: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\0".join((study.source, study.study_id, part))))
