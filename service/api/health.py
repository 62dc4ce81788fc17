"""GET /health/live, /health/ready, /metrics and /bundle."""

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.context import Services, Wired
from service.api.schemas import BundleOut
from service.auth import reader
from service.errors import EclipError
from service.telemetry import REGISTRY

READY = "ready"
router = APIRouter(tags=["operations"])
_PROBES = CapacityLimiter(2)
"""Threads of their own: a probe is answered while slow requests hold all the others."""


@router.get("/health/live")
async def live(wired: Wired) -> JSONResponse:
    """The process answers and its workers beat: one that is stuck mends by a restart alone."""
    workers = _workers(wired)
    body = {"status": "live" if workers == READY else workers}
    return JSONResponse(body, status_code=200 if workers == READY else 503)


@router.get("/health/ready")
async def ready(wired: Wired) -> JSONResponse:
    """Every part can serve: bundle verified and self-tested, store reachable, workers beating."""
    store = await to_thread.run_sync(_store, wired, limiter=_PROBES)
    parts = {"bundle": READY, "store": store, "workers": _workers(wired)}
    good = all(state == READY for state in parts.values())
    body = {"status": READY if good else "not ready", "parts": parts}
    return JSONResponse(body, status_code=200 if good else 503)


@router.get("/metrics", response_class=Response, dependencies=[reader])
def metrics() -> Response:
    """Prometheus text."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


@router.get("/bundle", dependencies=[reader])
def bundle(wired: Wired) -> BundleOut:
    """The manifest, label sets, metrics and model card of the bundle being served."""
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
    return READY if wired.encoder.healthy else "a tower's worker has died or is stuck"
