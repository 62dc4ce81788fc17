"""Translates searches, selections and changes into the types of qdrant-client."""

from collections.abc import Mapping, Sequence

from qdrant_client import models

from service.cases.breadth import ACORN_UNDER
from service.cases.operations import ALL_POINTS, BlankDigest, Operation, Remove, Selection, Upsert
from service.cases.points import RECORD, WORDS, Point
from service.cases.schema import Search
from service.cases.words import Words, sought_words

_ACORN = models.AcornSearchParams(enable=True, max_selectivity=ACORN_UNDER)


def ranking(search: Search) -> tuple[models.SparseVector | list[float], str]:
    """Returns the query and the name of the stored vector that it is compared with."""
    if search.vector is not None:
        return search.vector.tolist(), search.target
    return _sparse(sought_words(search.words or "")), WORDS


def search_params(search: Search) -> models.SearchParams:
    """Returns how a graph is searched, or in which corpus words are counted.

    Without a corpus the engine's word rarity still counts what was deleted.
    """
    if search.words is not None:
        corpus = points_filter(ALL_POINTS.of_part(search.target))
        return models.SearchParams(idf=models.IdfCorpusParams(corpus=corpus))
    rescored = models.QuantizationSearchParams(
        rescore=True, oversampling=search.breadth.oversampling
    )
    return models.SearchParams(hnsw_ef=search.breadth.ef, quantization=rescored, acorn=_ACORN)


def points_filter(selection: Selection) -> models.Filter:
    """Returns the filter that admits the selected points."""
    must, must_not = _any_of(selection.must), _any_of(selection.must_not)
    if selection.ids is not None:
        must.append(models.HasIdCondition(has_id=list(selection.ids)))
    if selection.spared:
        must_not.append(models.HasIdCondition(has_id=list(selection.spared)))
    return models.Filter(must=must, must_not=must_not)


def _any_of(conditions: Mapping[str, Sequence[str]]) -> list[models.Condition]:
    return [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        for key, values in conditions.items()
    ]


def update_operations(operation: Operation) -> list[models.UpdateOperation]:
    """Returns the updates that carry out an operation; of an Upsert, parts before records."""
    match operation:
        case BlankDigest(selection):
            blank = models.SetPayload(payload={"digest": ""}, filter=points_filter(selection))
            return [models.SetPayloadOperation(set_payload=blank)]
        case Remove(selection):
            chosen = models.FilterSelector(filter=points_filter(selection))
            return [models.DeleteOperation(delete=chosen)]
        case Upsert(points):
            parts = [point for point in points if point.part != RECORD]
            records = [point for point in points if point.part == RECORD]
            return [_upsert(group) for group in (parts, records) if group]


def _upsert(points: Sequence[Point]) -> models.UpsertOperation:
    structs = [
        models.PointStruct(id=point.id, vector=_vectors(point), payload=point.payload)
        for point in points
    ]
    return models.UpsertOperation(upsert=models.PointsList(points=structs))


def _vectors(point: Point) -> dict[str, list[float] | models.SparseVector]:
    words = {} if point.words is None else {WORDS: _sparse(point.words)}
    return {**point.vectors, **words}


def _sparse(words: Words) -> models.SparseVector:
    return models.SparseVector(indices=words.indices, values=words.values)
