"""Puts what a case store asks into the types of Qdrant Edge."""

from collections.abc import Mapping, Sequence

import qdrant_edge as qdrant

from service.cases.breadth import ACORN_UNDER
from service.cases.operations import ALL_POINTS, BlankDigest, Operation, Remove, Selection, Upsert
from service.cases.points import RECORD, WORDS, Point
from service.cases.schema import Search
from service.cases.words import Words, sought_words

_NO_WORD = qdrant.SparseVector([0], [1.0])
"""What a record has for words, by which nobody looks for records. The engine sees from the size of
vectors alone that a segment is large enough to be closed, which takes its index out of memory."""
_ACORN = qdrant.AcornSearchParams(enable=True, max_selectivity=ACORN_UNDER)


def query_of(search: Search) -> "qdrant.ScoringQueryType":
    """Returns the query of a search by a vector or by words."""
    if search.vector is not None:
        return qdrant.Query.Nearest(search.vector.tolist(), using=search.target)
    return qdrant.Query.Nearest(_sparse(sought_words(search.words or "")), using=WORDS)


def params_of(search: Search) -> qdrant.SearchParams:
    """Returns how a graph is searched, or in which corpus words are counted.

    Without a corpus the engine's word rarity still counts what was deleted.
    """
    if search.words is not None:
        corpus = filter_of(ALL_POINTS.of_part(search.target))
        return qdrant.SearchParams(idf=qdrant.IdfParams(corpus))
    rescored = qdrant.QuantizationSearchParams(
        rescore=True, oversampling=search.breadth.oversampling
    )
    return qdrant.SearchParams(hnsw_ef=search.breadth.ef, quantization=rescored, acorn=_ACORN)


def filter_of(selection: Selection) -> qdrant.Filter:
    """Returns the filter that passes the selected points."""
    must, must_not = _any_of(selection.must), _any_of(selection.must_not)
    if selection.ids is not None:
        must.append(qdrant.HasIdCondition(set(selection.ids)))
    if selection.spared:
        must_not.append(qdrant.HasIdCondition(set(selection.spared)))
    return qdrant.Filter(must=must, must_not=must_not)


def _any_of(conditions: Mapping[str, Sequence[str]]) -> "list[qdrant.ConditionType]":
    return [
        qdrant.FieldCondition(key, match=qdrant.MatchAny(list(values)))
        for key, values in conditions.items()
    ]


def update_of(operation: Operation) -> qdrant.UpdateOperation:
    """Returns the entry that an operation is in the engine's log."""
    update = qdrant.UpdateOperation
    match operation:
        case BlankDigest(selection):
            return update.set_payload_by_filter(filter_of(selection), {"digest": ""})
        case Remove(selection):
            return update.delete_points_by_filter(filter_of(selection))
        case Upsert(points):
            return update.upsert_points(
                [qdrant.Point(point.id, _vectors(point), point.payload) for point in points]
            )


def _vectors(point: Point) -> "dict[str, qdrant.NamedVector]":
    if point.part == RECORD:
        return {WORDS: _NO_WORD}
    words = {} if point.words is None else {WORDS: _sparse(point.words)}
    return {**point.vectors, **words}


def _sparse(words: Words) -> qdrant.SparseVector:
    return qdrant.SparseVector(words.indices, words.values)
