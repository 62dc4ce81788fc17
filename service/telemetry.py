"""Measures and logs what the service does: stage timings, Prometheus metrics, the logger.

Metrics and logs hold no patient identifier, file name or text of a report. A request is named by
its route template, never by its path.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.tracing import stage_span

REGISTRY = CollectorRegistry()
"""The metrics of this process. As Prometheus expects, all apps of a process share them."""
REQUESTS = Counter(
    "eclip_requests_total", "Answered requests", ["route", "status"], registry=REGISTRY
)
ERRORS = Counter("eclip_errors_total", "Errors by URN", ["type"], registry=REGISTRY)
STAGE_SECONDS = Histogram(
    "eclip_stage_seconds",
    "Time spent in one stage of a request",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
    registry=REGISTRY,
)
ADMITTED = Gauge("eclip_admitted_items", "Items of requests in progress", registry=REGISTRY)
WAITING = Gauge("eclip_queue_items", "Items waiting for a tower", ["tower"], registry=REGISTRY)
WAITING_BYTES = Gauge(
    "eclip_queue_bytes", "Bytes of the items waiting for a tower", ["tower"], registry=REGISTRY
)
BATCH_SIZE = Histogram(
    "eclip_batch_items",
    "Items in one call of a tower",
    ["tower"],
    buckets=(1, 2, 4, 8, 16, 32, 64),
    registry=REGISTRY,
)
DRIFT = Gauge(
    "eclip_embedding_drift",
    "1 - cosine between the mean embeddings of the latest images and of the validation images",
    registry=REGISTRY,
)
ERASURE_DUE = Gauge(
    "eclip_erasure_due_seconds",
    "Seconds since the oldest deletion whose content is not erased from the disk yet",
    registry=REGISTRY,
)
LIBRARY_RECALL = Gauge(
    "eclip_library_recall",
    "Share of the ten nearest parts that a search by an image or a text finds in the library",
    ["query", "part"],
    registry=REGISTRY,
)
LIBRARY_EF = Gauge(
    "eclip_library_ef",
    "Candidates that a search by an image or a text keeps, as the measurement chose them",
    ["query", "part"],
    registry=REGISTRY,
)
CACHE = Counter(
    "eclip_cache_total",
    "Look-ups in the cache of vectors",
    ["kind", "result"],
    registry=REGISTRY,
)
CONNECTIONS = Gauge("eclip_connections", "Open connections", registry=REGISTRY)
CUT = Counter(
    "eclip_connections_cut_total",
    "Connections cut, by what their client did not do in time",
    ["why"],
    registry=REGISTRY,
)

KEY_FILE_GOOD = Gauge(
    "eclip_key_file_good",
    "1 if the API keys are those of the key file, 0 if it could not be read after a change",
    registry=REGISTRY,
)
DISK_FREE = Gauge(
    "eclip_disk_free_bytes",
    "Bytes that the service may still write to the disk of a directory",
    ["directory"],
    registry=REGISTRY,
)
READ_ONLY = Gauge(
    "eclip_read_only", "1 while studies are refused because the disk is full", registry=REGISTRY
)
PART_READY = Gauge(
    "eclip_part_ready", "1 while a part of the service works, else 0", ["part"], registry=REGISTRY
)
PACS_OUTCOMES = Counter(
    "eclip_pacs_outcomes_total",
    "What became of received studies and of their results",
    ["outcome"],
    registry=REGISTRY,
)
PACS_STUDIES = Gauge(
    "eclip_pacs_studies_waiting", "Received studies that are not processed yet", registry=REGISTRY
)
PACS_RESULTS = Gauge(
    "eclip_pacs_results_waiting", "Results that are not sent yet", ["to"], registry=REGISTRY
)
ASSOCIATIONS = Counter(
    "eclip_associations_total",
    "Associations that callers asked for, by outcome",
    ["outcome"],
    registry=REGISTRY,
)
RECEIVED = Counter(
    "eclip_received_objects_total",
    "Objects received by C-STORE or STOW-RS, by outcome",
    ["by", "outcome"],
    registry=REGISTRY,
)
SPOOL_BYTES = Gauge(
    "eclip_spool_bytes", "Bytes that wait on the disk, encrypted", ["spool"], registry=REGISTRY
)
SPOOL_DAMAGED = Gauge(
    "eclip_spool_damaged_objects",
    "Files that were set aside because they cannot be decrypted",
    ["spool"],
    registry=REGISTRY,
)

_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


@contextmanager
def request_stages() -> Iterator[dict[str, float]]:
    """Gives the stages of one request as they are recorded: name → seconds."""
    stages: dict[str, float] = {}
    token = _stages.set(stages)
    try:
        yield stages
    finally:
        _stages.reset(token)


def record(stage: str, seconds: float, ago: float = 0.0) -> None:
    """Adds time to a stage of the current request, to the histogram and to the trace.

    seconds: how long the stage took. ago: seconds since it ended.
    """
    STAGE_SECONDS.labels(stage).observe(seconds)
    stage_span(stage, seconds, ago)
    stages = _stages.get()
    if stages is not None:
        stages[stage] = stages.get(stage, 0.0) + seconds


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Records how long the block took."""
    start = time.perf_counter()
    try:
        yield
    finally:
        record(stage, time.perf_counter() - start)


def log() -> structlog.typing.FilteringBoundLogger:
    """Returns the service's logger."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
