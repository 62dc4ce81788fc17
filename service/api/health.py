"""Answers the operator's questions: /health/live, /health/ready, /metrics and /bundle."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.answers import Answer
from service.api.context import Services, Wired
from service.auth import monitor, reader
from service.errors import EclipError
from service.telemetry import REGISTRY

READY = "ready"
router = APIRouter(tags=["operations"])


class BundleOut(Answer):
    """Answer of /bundle."""

    manifest: dict[str, Any]
    label_sets: dict[str, list[str]]
    metrics: dict[str, float]
    model_card: str


@router.get("/health/live")
async def live(wired: Wired) -> JSONResponse:
    """Answers 200 while the process and its workers run, and 503 when only a restart will help."""
    workers = _workers(wired)
    body = {"status": "live" if workers == READY else workers}
    return JSONResponse(body, status_code=200 if workers == READY else 503)


@router.get("/health/ready")
async def ready(wired: Wired) -> JSONResponse:
    """Answers 200 when bundle, store and workers can serve, else 503. Shows each part's state."""
    store = await to_thread.run_sync(_store, wired, limiter=wired.probe_threads)
    parts = {"bundle": READY, "store": store, "workers": _workers(wired)}
    good = all(state == READY for state in parts.values())
    body = {"status": READY if good else "not ready", "parts": parts}
    return JSONResponse(body, status_code=200 if good else 503)


@router.get("/metrics", response_class=Response, dependencies=[monitor])
def metrics() -> Response:
    """Returns the metrics as Prometheus text."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


@router.get("/bundle", dependencies=[reader])
def bundle(wired: Wired) -> BundleOut:
    """Returns the manifest, label sets, metrics and model card of the bundle in use."""
    served = wired.bundle
    return BundleOut(
        manifest=served.manifest.model_dump(mode="json"),
        label_sets={name: list(labels) for name, labels in served.label_sets.root.items()},
        metrics=served.manifest.metrics,
        model_card=served.model_card,
    )


def _store(wired: Services) -> str:
    try:
        wired.library.store.check()
    except EclipError as error:
        return error.detail
    return READY


def _workers(wired: Services) -> str:
    return READY if wired.encoder.healthy else "a model worker has stopped or is stuck; restart"
