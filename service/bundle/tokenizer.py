"""Turns texts into token ids with the bundle's tokenizer.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import tokenizers

from service.arrays import Bools


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of tokenized texts.

    ids: int64[N, L], padded to the context length L. counts: int64[N], tokens that the tower
    reads. truncated: bool[N], whether the text was longer than the context.
    """

    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    truncated: Bools


class Tokenizer:
    """A tokenizer with a fixed context length. Thread-safe."""

    def __init__(self, backend: tokenizers.Tokenizer, context_length: int) -> None:
        pad_id = (backend.padding or {}).get("pad_id", 0)
        pad_token = (backend.padding or {}).get("pad_token", "[PAD]")
        backend.enable_truncation(context_length)
        backend.enable_padding(length=context_length, pad_id=pad_id, pad_token=pad_token)
        self._backend = backend

    @classmethod
    def load(cls, path: Path, context_length: int) -> Self:
        """Reads a tokenizer.json of the `tokenizers` library."""
        return cls(tokenizers.Tokenizer.from_file(str(path)), context_length)

    def save(self, path: Path) -> None:
        """Writes a tokenizer.json that includes the truncation and padding."""
        self._backend.save(str(path))

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, special tokens included."""
        return self._backend.get_vocab_size()

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenizes N texts."""
        encodings = self._backend.encode_batch(list(texts))
        ids = np.array([e.ids for e in encodings], dtype=np.int64)
        counts = np.array([sum(e.attention_mask) for e in encodings], dtype=np.int64)
        truncated = np.array([bool(e.overflowing) for e in encodings], dtype=np.bool_)
        return Tokens(ids, counts, truncated)
