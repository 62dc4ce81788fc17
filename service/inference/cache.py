"""Keeps the answers for contents that were encoded before, by the contents' hashes."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from cachetools import LRUCache

from service.errors import EclipError
from service.telemetry import CACHE

Answer = TypeVar("Answer")


class AnswerCache:
    """The `items` answers used last, in memory only; 0 keeps none. Thread-safe.

    name: the metric's label. space: names all that the answers depend on besides the content, as
    the bundle (its id covers the preprocessing) and the precision.
    """

    def __init__(self, name: str, items: int, space: str) -> None:
        self._name, self._seed = name, hashlib.sha256(space.encode())
        self._items: LRUCache[bytes, Any] = LRUCache(max(1, items))
        self._keeps = items > 0
        self._lock = threading.Lock()

    def get_or_encode(
        self, contents: Sequence[bytes], encode: Callable[[list[int]], Iterable[Answer]]
    ) -> list[Answer]:
        """Returns one answer for each content, in order.

        `encode` gets the indexes of the unknown contents and returns their answers in order. Its
        errors are not kept.
        """
        if not self._keeps:
            return list(encode([*range(len(contents))]))
        keys = [self._key(content) for content in contents]
        answers = {row: hit for row, key in enumerate(keys) if (hit := self._get(key)) is not None}
        unknown = [row for row in range(len(keys)) if row not in answers]
        CACHE.labels(self._name, "hit").inc(len(answers))
        CACHE.labels(self._name, "miss").inc(len(unknown))
        for row, answer in zip(unknown, encode(unknown) if unknown else (), strict=True):
            answers[row] = answer
            if not isinstance(answer, EclipError):
                self._put(keys[row], answer)
        return [answers[row] for row in range(len(keys))]

    def _key(self, content: bytes) -> bytes:
        digest = self._seed.copy()
        digest.update(content)
        return digest.digest()

    def _get(self, key: bytes) -> Any:
        with self._lock:
            return self._items.get(key)

    def _put(self, key: bytes, answer: Any) -> None:
        with self._lock:
            self._items[key] = answer
