"""Turns texts into sparse vectors of their words, for search by wording (BM25).

Both engines get the vectors of Qdrant's own BM25 model and multiply them by the words' rarity
(IDF). No word is left out as too common: Qdrant's usual list holds "no" and "not". Without these,
"No effusion." and "Effusion." have the same words.
"""

from dataclasses import dataclass
from functools import cache

import qdrant_edge as qdrant

MEAN_WORDS = 30
"""Words: the mean length of a stored text. Passages have about ten, reports fifty."""


@dataclass(frozen=True, slots=True)
class Words:
    """A sparse vector: hashed words, stemmed as English, and their weights."""

    indices: list[int]
    values: list[float]


def stored_words(text: str) -> Words:
    """Returns the words of a stored text.

    A word's weight grows with its repetitions and falls with the length of the text.
    """
    return _words(_model().embed_document(text))


def sought_words(text: str) -> Words:
    """Returns the words of a query, each once with the weight 1."""
    return _words(_model().embed_query(text))


@cache
def _model() -> qdrant.Bm25:
    no_stopwords = qdrant.StopwordsSet(set(), set())
    return qdrant.Bm25(qdrant.Bm25Config(stopwords=no_stopwords, avg_len=MEAN_WORDS))


def _words(sparse: qdrant.SparseVector) -> Words:
    return Words(sparse.indices, sparse.values)
