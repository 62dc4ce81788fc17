"""Encodes on a Ray cluster: one encoder here hands its work to several there.

Images and texts leave this process; vectors and reduced images come back; ids stay here. Ray
starts an encoder that died again, if the cluster has room, and repeats its unanswered calls.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from service.bundle.manifest import Bundle
from service.deadline import Deadline, exceeded
from service.errors import ClusterUnavailable, EclipError
from service.inference.encoder import EncodedRadiograph, EncodedText, Encoder, check_texts

CALLS = 2
"""Calls of one encoder side by side: while one is in the tower, the next is decoded."""
RETRIES = 3
"""Repeats of a call whose encoder died. Bounded, because an image may kill every decoder."""
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


class RemoteEncoder:
    """Encodes texts and radiographs as `Encoder` does, on encoders elsewhere. Thread-safe."""

    def __init__(self, bundle: Bundle, max_text_chars: int, workers: Sequence[Any]) -> None:
        self.bundle = bundle
        self._max_text_chars = max_text_chars
        self._free: Queue[Any] = Queue()
        for worker in [*workers] * CALLS:
            self._free.put(worker)

    def radiographs(
        self, items: Sequence[bytes], deadline: Deadline, side: int
    ) -> list[EncodedRadiograph | EclipError]:
        """Answers as `Encoder.radiographs`; raises ClusterUnavailable if no encoder comes back."""
        encoded: list[EncodedRadiograph | EclipError]
        encoded = self._ask("radiographs", items, deadline, side)
        return encoded

    def texts(self, texts: Sequence[str], deadline: Deadline) -> list[EncodedText]:
        """Answers as `Encoder.texts`; raises ClusterUnavailable if no encoder comes back."""
        encoded: list[EncodedText] = self._ask("texts", texts, deadline)
        return encoded

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises TextInvalid for a text that is empty or too long."""
        check_texts(texts, self._max_text_chars)

    def _ask(self, method: str, items: Sequence[Any], deadline: Deadline, *more: int) -> Any:
        """Calls the encoder that has been free longest, and returns its answer."""
        try:
            worker = self._free.get(timeout=deadline.remaining)
        except Empty:
            raise exceeded() from None
        try:
            answer = getattr(worker, method).remote(items, deadline.remaining, *more)
            return ray.get(answer, timeout=deadline.remaining)
        except GetTimeoutError:
            raise exceeded() from None
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise ClusterUnavailable(
                "The Ray cluster lost its encoders. Check the cluster, then run the command again."
            ) from error
        finally:
            self._free.put(worker)


@contextmanager
def on_cluster(
    cluster: Cluster, bundle: Bundle, build: Callable[[], Encoder], max_text_chars: int
) -> Iterator[RemoteEncoder]:
    """Starts the encoders on the cluster, each made there by `build`, and stops them at the end.

    Raises ClusterUnavailable if the cluster does not answer, does not start all encoders within
    `START_S`, or has another bundle at this bundle's path.
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
    """A process of the cluster with its own encoder."""

    def __init__(self, build: Callable[[], Encoder]) -> None:
        self._encoder = build()

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
        max_task_retries=RETRIES,
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
