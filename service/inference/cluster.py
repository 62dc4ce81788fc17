"""Encodes on a Ray cluster: one encoder here hands its work to several there.

Images and texts leave this process; vectors and reduced images come back; ids stay here. Ray
starts an encoder that died again, if the cluster has room. Its unanswered calls are repeated here,
image by image on an encoder that does nothing else: so the image that ends its reader is found, and
only its study is refused.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from service.bundle.manifest import Bundle
from service.deadline import Deadline, exceeded
from service.errors import ClusterUnavailable, EclipError, ImageUndecodable
from service.inference.encoder import EncodedRadiograph, EncodedText, Encoder, check_texts

CALLS = 2
"""Calls of one encoder side by side: while one is in the tower, the next is decoded."""
TRIES_ALONE = 2
"""Encoders that an image may end on its own before it is refused; one may die by chance."""
CONNECT_S = 5.0
"""Seconds to reach the cluster's head."""
START_S = 120.0
"""Seconds for all encoders to start."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where encoders run, how many, and what Ray reserves for each: CPU cores and GPUs.

    address: HOST:PORT of a running cluster's head, or "local" to start a cluster here.
    """

    address: str
    encoders: int
    cores: int
    gpus: float


class _EncoderDied(Exception):
    """An encoder ended before it answered, because of this call, another, or nothing here."""


class RemoteEncoder:
    """Encodes texts and radiographs as `Encoder` does, on encoders elsewhere. Thread-safe."""

    def __init__(self, bundle: Bundle, max_text_chars: int, workers: Sequence[Any]) -> None:
        self.bundle = bundle
        self._max_text_chars = max_text_chars
        self._isolating = threading.Lock()
        self._free: Queue[Any] = Queue()
        for worker in [*workers] * CALLS:
            self._free.put(worker)

    def radiographs(
        self, items: Sequence[bytes], deadline: Deadline, side: int
    ) -> list[EncodedRadiograph | EclipError]:
        """Answers as `Encoder.radiographs`; raises ClusterUnavailable if no encoder comes back.

        The result of an image that ends every encoder that reads it is ImageUndecodable.
        """
        try:
            encoded: list[EncodedRadiograph | EclipError]
            with self._shared(deadline) as worker:
                encoded = _call(worker, "radiographs", items, deadline, side)
            return encoded
        except _EncoderDied:
            return [self._suspect(item, deadline, side) for item in items]

    def texts(self, texts: Sequence[str], deadline: Deadline) -> list[EncodedText]:
        """Answers as `Encoder.texts`; raises ClusterUnavailable if no encoder comes back."""
        encoded: list[EncodedText]
        with suppress(_EncoderDied), self._shared(deadline) as worker:
            encoded = _call(worker, "texts", texts, deadline)
            return encoded
        try:
            with self._alone(deadline) as worker:
                encoded = _call(worker, "texts", texts, deadline)
            return encoded
        except _EncoderDied as error:
            raise _lost() from error

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises TextInvalid for a text that is empty or too long."""
        check_texts(texts, self._max_text_chars)

    def _suspect(
        self, item: bytes, deadline: Deadline, side: int
    ) -> EncodedRadiograph | EclipError:
        """Encodes an image of a call whose encoder died."""
        for _ in range(TRIES_ALONE):
            with suppress(_EncoderDied), self._alone(deadline) as worker:
                encoded: list[EncodedRadiograph | EclipError]
                encoded = _call(worker, "radiographs", [item], deadline, side)
                return encoded[0]
        return ImageUndecodable(
            "The image ended every encoder that read it. Leave it out, or write it anew in "
            "another transfer syntax."
        )

    @contextmanager
    def _shared(self, deadline: Deadline) -> Iterator[Any]:
        """Gives the encoder that has been free longest."""
        worker = self._take(deadline)
        try:
            yield worker
        finally:
            self._free.put(worker)

    @contextmanager
    def _alone(self, deadline: Deadline) -> Iterator[Any]:
        """Gives an encoder that runs and has no other call, so that its death says something."""
        with self._isolating:  # two who each held one of an encoder's two calls would wait forever
            held = [self._take(deadline)]
            worker = held[0]
            try:
                while sum(one is worker for one in held) < CALLS:
                    held.append(self._take(deadline))
                for other in [one for one in held if one is not worker]:
                    held.remove(other)
                    self._free.put(other)
                _await_start(worker, deadline)
                yield worker
            finally:
                for one in held:
                    self._free.put(one)

    def _take(self, deadline: Deadline) -> Any:
        try:
            return self._free.get(timeout=deadline.remaining)
        except Empty:
            raise exceeded() from None


def _call(worker: Any, method: str, items: Sequence[Any], deadline: Deadline, *more: int) -> Any:
    """Returns the encoder's answer, or raises its error, or _EncoderDied."""
    try:
        answer = getattr(worker, method).remote(items, deadline.remaining, *more)
        return ray.get(answer, timeout=deadline.remaining)
    except GetTimeoutError:
        raise exceeded() from None
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise _EncoderDied from error


def _await_start(worker: Any, deadline: Deadline) -> None:
    """Waits until Ray has started an encoder that died again; a call before that may fail."""
    try:
        ray.get(worker.bundle_id.remote(), timeout=deadline.remaining)
    except GetTimeoutError:
        raise exceeded() from None
    except RayError as error:
        raise _lost() from error


def _lost() -> ClusterUnavailable:
    return ClusterUnavailable(
        "The Ray cluster lost its encoders. Check the cluster, then run the command again."
    )


@contextmanager
def on_cluster(
    cluster: Cluster, bundle: Bundle, build: Callable[[], Encoder], max_text_chars: int
) -> Iterator[RemoteEncoder]:
    """Starts the encoders on the cluster, each made there by `build`, and stops them at the end.

    Raises ClusterUnavailable if the cluster does not answer, does not start all encoders within
    `START_S`, or has another bundle at this bundle's path; or what `build` raised there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports usage to its makers
    local = cluster.address == "local"
    if not local:
        _check_address(cluster.address)
    try:
        ray.init(
            cluster.address,
            num_cpus=cluster.encoders * cluster.cores if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (RayError, ConnectionError, ValueError, RuntimeError) as error:
        raise _no_answer() from error
    try:
        yield RemoteEncoder(bundle, max_text_chars, _workers(cluster, bundle, build))
    finally:
        ray.shutdown()


class _Worker:
    """A process of the cluster with its own encoder, or with the reason why it has none.

    Ray tells of a process that ends in __init__ that it ended, and not of what error.
    """

    def __init__(self, build: Callable[[], Encoder]) -> None:
        try:
            self._built: Encoder | EclipError = build()
        except EclipError as error:
            self._built = error

    @property
    def _encoder(self) -> Encoder:
        if isinstance(self._built, EclipError):
            raise self._built
        return self._built

    @ray.method(max_task_retries=-1)
    def bundle_id(self) -> str:
        return self._encoder.bundle.manifest.id

    def radiographs(
        self, items: Sequence[bytes], seconds: float, side: int
    ) -> list[EncodedRadiograph | EclipError]:
        return self._encoder.radiographs(items, Deadline(seconds), side)

    def texts(self, texts: Sequence[str], seconds: float) -> list[EncodedText]:
        return self._encoder.texts(texts, Deadline(seconds))


def _check_address(address: str) -> None:
    """Fails fast: for a head that is absent, Ray waits minutes and then ends the process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, ValueError):
        raise _no_answer() from None


def _no_answer() -> ClusterUnavailable:
    return ClusterUnavailable(
        "No Ray cluster answers at this address. Give HOST:PORT of its head, or `local`."
    )


def _workers(cluster: Cluster, bundle: Bundle, build: Callable[[], Encoder]) -> list[Any]:
    worker_type: Any = ray.remote(_Worker).options(
        num_cpus=cluster.cores,
        num_gpus=cluster.gpus,
        max_concurrency=CALLS,
        max_restarts=-1,
    )
    workers = [worker_type.remote(build) for _ in range(cluster.encoders)]
    try:
        ids = ray.get([worker.bundle_id.remote() for worker in workers], timeout=START_S)
    except RayTaskError as error:
        raise error.cause from None
    except GetTimeoutError:
        raise ClusterUnavailable(
            f"The Ray cluster did not start {cluster.encoders} encoders of {cluster.cores} cores "
            f"and {cluster.gpus:g} GPUs in {START_S:.0f} s. Ask for less, or add nodes."
        ) from None
    except RayError as error:
        raise ClusterUnavailable(
            "An encoder did not start on the Ray cluster. Install this package on each node, and "
            "put the bundle at the same path there."
        ) from error
    if set(ids) != {bundle.manifest.id}:
        raise ClusterUnavailable(
            "A node of the Ray cluster has another bundle at this path. Copy this bundle there."
        )
    return workers
