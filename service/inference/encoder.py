"""Turns bytes and texts into unit vectors: decode → preprocess → batch → tower."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from service.arrays import FloatArray, UInt8
from service.bundle.golden import unpack_vector
from service.bundle.manifest import Bundle
from service.deadline import Deadline
from service.errors import EclipError, TextInvalid
from service.imaging.decode import ImageLimits, decode
from service.imaging.radiograph import Radiograph, RadiographFacts
from service.inference.batching import Batcher, Bounds, Row, collect
from service.inference.cache import AnswerCache
from service.inference.decoders import Decoders
from service.inference.drift import Drift
from service.inference.gate import gate_doubts
from service.inference.queueing import fair_part
from service.inference.session import Looked, Towers
from service.memory import DecodingMemory, Reserve
from service.telemetry import record

Kept = TypeVar("Kept")
"""What is kept of a decoded radiograph while its vector is computed."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image's embedding, unit float32[D], and the facts about it."""

    facts: RadiographFacts
    vector: FloatArray


@dataclass(frozen=True, slots=True)
class EncodedRadiograph:
    """An image's embedding, unit float32[D], and the image reduced to the side asked for."""

    radiograph: Radiograph
    vector: FloatArray


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text's embedding, unit float32[D].

    tokens: how many the tower read. truncated: whether the text was longer than the context.
    """

    vector: FloatArray
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Prepared(Generic[Kept]):
    kept: Kept
    pixels: UInt8
    decode_s: float
    preprocess_s: float


class Encoder:
    """The only way from bytes and texts to vectors; API, CLI and ingestion share it. Thread-safe.

    decoders, memory: threads that decode and preprocess, and what they may take (`Decoders`).
    max_text_chars: the longest text accepted. cache_items: answers kept in memory, of images and of
    texts each; 0 keeps none.
    """

    def __init__(
        self,
        bundle: Bundle,
        towers: Towers,
        limits: ImageLimits,
        bounds: Bounds,
        *,
        decoders: int,
        memory: DecodingMemory,
        max_text_chars: int,
        cache_items: int = 0,
    ) -> None:
        self.bundle = bundle
        self._towers, self._limits, self._max_text_chars = towers, limits, max_text_chars
        self._decoders = Decoders(decoders, memory)
        self._places = bounds.items
        self._image: Batcher[FloatArray] = Batcher("image", towers.image, bounds)
        self._text: Batcher[FloatArray] = Batcher("text", towers.text, bounds)
        self._maps = Batcher("maps", towers.looked, replace(bounds, batch=1, calls=1))
        mean = bundle.manifest.image_mean
        self._drift = Drift(None if mean is None else unpack_vector(mean))
        space = f"{bundle.manifest.id} {towers.precision}"
        self._known_images = AnswerCache("image", cache_items, space)
        self._known_texts = AnswerCache("text", cache_items, space)

    def images(self, items: Sequence[bytes], deadline: Deadline) -> list[EncodedImage | EclipError]:
        """Returns one answer for each item, in order. A bad item's answer is its own error.

        Items that the cache knows are not encoded again. Pixels are dropped as soon as the tower's
        input is made, so that no batch holds more decoded images than there are decoders.

        Raises QueueFull or DeadlineExceeded for the whole batch.
        """
        return self._known_images.get_or_encode(
            items,
            lambda rows: self._encode(
                [items[row] for row in rows], deadline, lambda image: image.facts, EncodedImage
            ),
        )

    def radiographs(
        self, items: Sequence[bytes], deadline: Deadline, side: int
    ) -> list[EncodedRadiograph | EclipError]:
        """Answers as `images` does, with each radiograph reduced to `side` (`Radiograph.reduced`).

        Each is decoded once, with the pixels for both. It neither asks nor fills the cache.
        """
        return self._encode(
            items, deadline, lambda image: image.reduced(side), EncodedRadiograph, side
        )

    def image(self, data: bytes, deadline: Deadline) -> EncodedImage:
        """Encodes one image. Raises what is wrong with it."""
        (encoded,) = self.views([data], deadline)
        return encoded

    def views(self, items: Sequence[bytes], deadline: Deadline) -> list[EncodedImage]:
        """Encodes all views of a study in one call. Raises what is wrong with the first bad one."""
        encoded = []
        for image in self.images(items, deadline):
            if isinstance(image, EclipError):
                raise image
            encoded.append(image)
        return encoded

    def texts(self, texts: Sequence[str], deadline: Deadline) -> list[EncodedText]:
        """Returns one answer for each text, in order; the cache's if it knows the text.

        Raises TextUnavailable if the bundle encodes no texts, TextInvalid for a text that is empty
        or too long, QueueFull or DeadlineExceeded.
        """
        if texts:
            self.bundle.manifest.require_text()
        self.check_texts(texts)
        return self._known_texts.get_or_encode(
            [text.encode() for text in texts],
            lambda rows: self._encode_texts([texts[row] for row in rows], deadline),
        )

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises TextInvalid for a text that is empty or too long."""
        check_texts(texts, self._max_text_chars)

    def text_matrix(self, texts: Sequence[str], deadline: Deadline) -> FloatArray:
        """Encodes N texts as `texts` does and returns their vectors, float32[N, D]."""
        return np.stack([encoded.vector for encoded in self.texts(texts, deadline)])

    def looked(self, data: bytes, deadline: Deadline, side: int = 1) -> tuple[Radiograph, Looked]:
        """Returns an image reduced to `side`, and where the tower looked. The bundle has a map.

        Raises DeadlineExceeded, QueueFull, or the image's error.
        """
        (prepared,) = self._prepare([data], deadline, lambda image: image.reduced(side), side)
        if isinstance(prepared, EclipError):
            raise prepared
        (looked,) = collect(self._maps.submit([prepared.pixels], deadline), deadline)
        return prepared.kept, looked

    def displayed(self, data: bytes, deadline: Deadline) -> Radiograph:
        """Decodes an image over the whole range of its values. No tower sees it.

        Raises DeadlineExceeded, MemoryShort, or the image's error.
        """

        def decoded(data: bytes, reserve: Reserve) -> tuple[Radiograph, float]:
            start = time.perf_counter()
            radiograph = decode(data, self._limits, reserve=reserve, windowed=False)
            return radiograph, time.perf_counter() - start

        (answer,) = self._decoders.each([data], deadline, decoded)
        if isinstance(answer, EclipError):
            raise answer
        radiograph, seconds = answer
        record("decode", seconds)
        return radiograph

    @property
    def seconds_per_image(self) -> float:
        """Measured seconds of tower time for one image, all workers together."""
        return self._image.seconds_per_item

    @property
    def healthy(self) -> bool:
        """Whether the workers of the towers live and none is stuck."""
        return all(tower.healthy for tower in (self._image, self._text, self._maps))

    def close(self) -> None:
        """Answers what is queued and ends the workers."""
        for tower in (self._image, self._text, self._maps):
            tower.close()
        self._decoders.close()

    def _encode(
        self,
        items: Sequence[bytes],
        deadline: Deadline,
        keep: Callable[[Radiograph], Kept],
        answer: Callable[[Kept, FloatArray], Answer],
        side: int = 1,
    ) -> list[Answer | EclipError]:
        """side: pixels of an image's longer side that `keep` needs."""
        prepared = self._prepare(items, deadline, keep, side)
        good = [p for p in prepared if isinstance(p, _Prepared)]
        encoded = self._vectors(self._image, [p.pixels for p in good], deadline)
        self._drift.note(encoded)
        vectors = iter(encoded)
        return [answer(p.kept, next(vectors)) if isinstance(p, _Prepared) else p for p in prepared]

    def _encode_texts(self, texts: Sequence[str], deadline: Deadline) -> list[EncodedText]:
        tokens = self.bundle.tokenizer(texts)
        vectors = self._vectors(self._text, list(tokens.ids), deadline)
        return [
            EncodedText(vector, int(count), bool(truncated))
            for vector, count, truncated in zip(
                vectors, tokens.counts, tokens.truncated, strict=True
            )
        ]

    def _vectors(
        self, tower: Batcher[FloatArray], rows: Sequence[Row], deadline: Deadline
    ) -> list[FloatArray]:
        """One vector for each row. A large request queues in parts, so that others find a place."""
        part = fair_part(self._places, bulk=deadline.bulk)
        return [
            vector
            for start in range(0, len(rows), part)
            for vector in collect(tower.submit(rows[start : start + part], deadline), deadline)
        ]

    def _prepare(
        self,
        items: Sequence[bytes],
        deadline: Deadline,
        keep: Callable[[Radiograph], Kept],
        side: int = 1,
    ) -> list[_Prepared[Kept] | EclipError]:
        prepared = self._decoders.each(
            items, deadline, lambda data, reserve: self._prepare_now(data, reserve, keep, side)
        )
        good = [p for p in prepared if isinstance(p, _Prepared)]
        record("decode", sum(p.decode_s for p in good))
        record("preprocess", sum(p.preprocess_s for p in good))
        return prepared

    def _prepare_now(
        self, data: bytes, reserve: Reserve, keep: Callable[[Radiograph], Kept], side: int
    ) -> _Prepared[Kept]:
        """Lets go of the decoded pixels when it returns, before what was reserved is free again."""
        spec = self.bundle.manifest.image
        start = time.perf_counter()
        radiograph = decode(data, self._limits, spec, reserve, side)
        decoded = time.perf_counter()
        pixels = radiograph.prepared(spec)
        radiograph = radiograph.doubted(gate_doubts(self.bundle.gate, radiograph, pixels))
        return _Prepared(keep(radiograph), pixels, decoded - start, time.perf_counter() - decoded)


def check_texts(texts: Sequence[str], max_chars: int) -> None:
    """Raises TextInvalid for a text that is empty or longer than `max_chars`."""
    for index, text in enumerate(texts):
        if not text.strip():
            raise TextInvalid(f"Text {index} is empty. Send at least one word.")
        if len(text) > max_chars:
            raise TextInvalid(
                f"Text {index} has {len(text)} characters, over the limit of {max_chars}. Send it "
                "in parts."
            )
