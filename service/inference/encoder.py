"""Bytes or texts → unit vectors: decode → preprocess → batch → vector."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from service.arrays import FloatArray, UInt8
from service.bundle.manifest import Bundle, unpack_vector
from service.bundle.preprocess import preprocess
from service.deadline import Deadline
from service.errors import DeadlineExceeded, EclipError, PatchesUnavailable, TextInvalid
from service.imaging.decode import ImageLimits, decode
from service.imaging.radiograph import Radiograph
from service.inference.batching import Batcher, Bounds, Embedded, Row
from service.inference.cache import AnswerCache
from service.inference.drift import Drift
from service.inference.queueing import fair_part
from service.inference.session import Towers
from service.telemetry import record, timed

Keep = Callable[[bytes, Radiograph], Radiograph]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A radiograph and its embedding, unit float32[D].

    The radiograph holds its facts, and only as many of its pixels as were asked for.
    """

    radiograph: Radiograph
    vector: FloatArray


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text's embedding, unit float32[D], the tokens that the tower read, and whether it cut."""

    vector: FloatArray
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Prepared:
    radiograph: Radiograph
    pixels: npt.NDArray[np.uint8]
    decode_s: float
    preprocess_s: float


class Encoder:
    """The one way from bytes and texts to vectors; API, CLI and ingestion share it. Thread-safe."""

    def __init__(
        self,
        bundle: Bundle,
        towers: Towers,
        limits: ImageLimits,
        bounds: Bounds,
        *,
        decoders: int,
        max_text_chars: int,
        cache_items: int = 0,
    ) -> None:
        self.bundle = bundle
        self._towers, self._limits, self._max_text_chars = towers, limits, max_text_chars
        self._pool = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self._part = fair_part(bounds.items)
        self._image = Batcher("image", towers.image, bounds)
        self._text = Batcher("text", towers.text, bounds)
        mean = bundle.manifest.image_mean
        self._drift = Drift(None if mean is None else unpack_vector(mean))
        space = f"{bundle.manifest.id} {towers.precision}"
        self._known_images = AnswerCache("image", cache_items, space)
        self._known_texts = AnswerCache("text", cache_items, space)

    def images(
        self, items: Sequence[bytes], deadline: Deadline, side: int = 0
    ) -> list[EncodedImage | EclipError]:
        """One answer an item, in order; a bad item is its own error and harms no neighbour.

        Each radiograph comes back reduced to `side` (see `Radiograph.reduced`), so that no batch
        holds more decoded images than there are decoders; at 0 what was embedded before is known.
        Raises QueueFull or DeadlineExceeded for the whole batch.
        """
        if side:
            return self._encode(items, deadline, side)
        return self._known_images.through(
            items, lambda rows: self._encode([items[row] for row in rows], deadline, side)
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
        """One answer a text, in order; raises TextInvalid for an empty or overlong one."""
        self.check_texts(texts)
        return self._known_texts.through(
            [text.encode() for text in texts],
            lambda rows: self._encode_texts([texts[row] for row in rows], deadline),
        )

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raise TextInvalid for an empty or overlong one."""
        check_texts(texts, self._max_text_chars)

    def text_matrix(self, texts: Sequence[str], deadline: Deadline) -> FloatArray:
        """N texts → float32[N,D]."""
        return np.stack([encoded.vector for encoded in self.texts(texts, deadline)])

    def patches(self, data: bytes, deadline: Deadline) -> tuple[UInt8, FloatArray]:
        """Returns the model's input uint8[H,W] and its unit patch embeddings float32[G,G,D]."""
        if self.bundle.manifest.patch_grid is None:
            raise PatchesUnavailable(
                f"The image tower of bundle {self.bundle.manifest.name} yields no patch "
                "embeddings. Export a bundle from a vision transformer without attention pooling."
            )
        (prepared,) = self._prepare([data], deadline, lambda _, radiograph: radiograph)
        if isinstance(prepared, EclipError):
            raise prepared
        with timed("infer"):
            grid = self._towers.patches(prepared.pixels[np.newaxis])[0]
        return prepared.pixels, grid

    @property
    def seconds_per_image(self) -> float:
        """At which images drain, as measured."""
        return self._image.seconds_per_item

    @property
    def beating(self) -> bool:
        """Whether both workers live."""
        return self._image.beating and self._text.beating

    def close(self) -> None:
        """Answer what is queued and end the workers."""
        self._image.close()
        self._text.close()
        self._pool.shutdown()

    def _encode(
        self, items: Sequence[bytes], deadline: Deadline, side: int
    ) -> list[EncodedImage | EclipError]:
        prepared = self._prepare(items, deadline, partial(self._reduced, side))
        good = [p for p in prepared if isinstance(p, _Prepared)]
        embedded = self._vectors(self._image, [p.pixels for p in good], deadline)
        self._drift.note(embedded)
        vectors = iter(embedded)
        return [
            EncodedImage(p.radiograph, next(vectors)) if isinstance(p, _Prepared) else p
            for p in prepared
        ]

    def _encode_texts(self, texts: Sequence[str], deadline: Deadline) -> list[EncodedText]:
        tokens = self.bundle.tokenizer(texts)
        vectors = self._vectors(self._text, list(tokens.ids), deadline)
        return [
            EncodedText(vector, int(count), bool(truncated))
            for vector, count, truncated in zip(
                vectors, tokens.counts, tokens.truncated, strict=True
            )
        ]

    def _vectors(self, tower: Batcher, rows: Sequence[Row], deadline: Deadline) -> list[FloatArray]:
        """One vector a row; a large request queues in parts, so that others find a place."""
        return [
            vector
            for start in range(0, len(rows), self._part)
            for vector in _collect(
                tower.submit(rows[start : start + self._part], deadline), deadline
            )
        ]

    def _prepare(
        self, items: Sequence[bytes], deadline: Deadline, keep: Keep
    ) -> list[_Prepared | EclipError]:
        """Decode and preprocess side by side; what has not begun at the deadline is dropped."""
        preparing = self._pool.map(
            lambda data: self._prepare_one(data, deadline, keep), items, timeout=deadline.remaining
        )
        try:
            prepared = list(preparing)
        except FutureTimeout:
            raise _late() from None
        done = [p for p in prepared if isinstance(p, _Prepared)]
        record("decode", sum(p.decode_s for p in done))
        record("preprocess", sum(p.preprocess_s for p in done))
        return prepared

    def _prepare_one(self, data: bytes, deadline: Deadline, keep: Keep) -> _Prepared | EclipError:
        deadline.check()
        spec = self.bundle.manifest.image
        start = time.perf_counter()
        try:
            radiograph = decode(data, self._limits, spec)
        except EclipError as error:
            return error
        decoded = time.perf_counter()
        pixels = preprocess(radiograph.pixels, spec)
        kept = keep(data, radiograph)
        return _Prepared(kept, pixels, decoded - start, time.perf_counter() - decoded)

    def _reduced(self, side: int, data: bytes, radiograph: Radiograph) -> Radiograph:
        """To `side`, from the whole image where decoding left less of it for the tower."""
        least = min(side, max(radiograph.rows, radiograph.columns))
        if max(radiograph.pixels.shape) < least:
            radiograph = decode(data, self._limits)
        return radiograph.reduced(side)


def check_texts(texts: Sequence[str], max_chars: int) -> None:
    """Raise TextInvalid for an empty or overlong one."""
    for index, text in enumerate(texts):
        if not text.strip():
            raise TextInvalid(f"Text {index} is empty. Send at least one word.")
        if len(text) > max_chars:
            raise TextInvalid(
                f"Text {index} has {len(text)} characters, over the bound of {max_chars}. Send it "
                "in parts."
            )


def _collect(futures: Sequence[Future[Embedded]], deadline: Deadline) -> list[FloatArray]:
    try:
        done = [future.result(timeout=deadline.remaining) for future in futures]
    except FutureTimeout:
        deadline.cancel()
        raise _late() from None
    if done:
        infer_s = max(answer.infer_s for answer in done)
        record("queue", max(answer.queue_s for answer in done), ago=infer_s)
        record("infer", infer_s)
    return [answer.vector for answer in done]


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed while the item was being encoded.")
