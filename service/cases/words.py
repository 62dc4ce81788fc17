"""Texts → sparse vectors of their words, for search by wording (BM25).

Qdrant's own model, here for both engines; the engine multiplies by the words' rarity (IDF). No word
is left out as too common: the usual lists hold "no", "not" and "without", and then a report that
denies a finding reads as one that states it.
"""

from dataclasses import dataclass
from functools import cache

import qdrant_edge as qdrant

MEAN_WORDS = 30
"""Of a stored text: passages have about ten, reports fifty."""


@dataclass(frozen=True, slots=True)
class Words:
    """A sparse vector: hashed words, stemmed as English, and their weights."""

    indices: list[int]
    values: list[float]


def stored_words(text: str) -> Words:
    """Of a text that is kept: weights grow with repetition and fall with the text's length."""
    return _words(_model().embed_document(text))


def sought_words(text: str) -> Words:
    """Of a query: each word once."""
    return _words(_model().embed_query(text))


@cache
def _model() -> qdrant.Bm25:
    nothing = qdrant.StopwordsSet(set(), set())
    return qdrant.Bm25(qdrant.Bm25Config(stopwords=nothing, avg_len=MEAN_WORDS))


def _words(sparse: qdrant.SparseVector) -> Words:
    return Words(sparse.indices, sparse.values)
