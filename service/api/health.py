"""Answers the operator's questions: /health/live, /health/ready, /metrics and /bundle."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.answers import Answer
from service.api.context import Services, Wired
from service.auth import monitor, reader
from service.health import READY, Health, State
from service.telemetry import REGISTRY

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
async def ready(request: Request, wired: Wired) -> JSONResponse:
    """Answers 200 while the service can do its work, else 503. Shows each part's state.

    Never waits for a part that is slow: then it has the last answer, or how long there was none.
    """
    health: Health = request.app.state.health
    workers = State(_workers(wired), good=wired.encoder.healthy)
    bundle = State(READY, good=True)  # it was verified at the start, and is in memory
    parts = {"bundle": bundle, "workers": workers, **await health.states()}
    good = all(state.good for state in parts.values())
    body = {
        "status": READY if good else "not ready",
        "parts": {name: state.text for name, state in parts.items()},
    }
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


def _workers(wired: Services) -> str:
    return READY if wired.encoder.healthy else "a model worker has stopped or is stuck; restart"
