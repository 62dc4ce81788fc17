"""Makes the HTTP app: its endpoints, its bounds, and how errors are answered."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from importlib.metadata import version

from fastapi import FastAPI

from service.access.guard import Guard
from service.access.local import open_to_others
from service.api import (
    attention,
    classify,
    display,
    embed,
    health,
    openai,
    openapi,
    patients,
    problems,
    reports,
    retrieve,
    stow,
    studies,
)
from service.api.context import Services
from service.api.middleware import BodyBounds, Heads, RequestEnvelope
from service.health import watching
from service.listening import check_listening, listening
from service.memory import RequestMemory
from service.probes import parts_of
from service.settings import Settings
from service.telemetry import log
from service.web import docs, page
from service.wiring import open_services


def create_app(settings: Settings, wired: Services | None = None) -> FastAPI:
    """Returns the HTTP app. It uses the given parts, or opens its own while the server runs.

    Raises SettingInvalid if the settings let in whom they may not.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if open_to_others(settings):
            log().warning("anyone who reaches the port may read and delete everything")
        with (
            _all_services(settings) if wired is None else nullcontext(wired) as services,
            watching(parts_of(services)) as app.state.health,
        ):
            app.state.services = services
            yield
            if services.unfinished:
                await asyncio.wait(services.unfinished)

    app = FastAPI(
        title="eCLIP Radiology",
        version=version("eclip-radiology"),
        description="Turns chest radiographs into embeddings, zero-shot findings, similar cases "
        "and cited reports. Research software, not a medical device.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages run scripts of another site
        redoc_url=None,
    )
    app.state.settings, app.state.guard = settings, Guard(settings)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(
        BodyBounds,
        max_bytes=settings.max_body_bytes,
        memory=RequestMemory(settings.request_bytes),
        seconds=settings.body_s,
    )
    app.add_middleware(RequestEnvelope)
    app.add_middleware(Heads)
    for module in (
        embed, classify, retrieve, reports, studies, patients, attention, display, openai, stow,
        health, page, docs,
    ):  # fmt: skip
        app.include_router(module.router)
    return app


@contextmanager
def _all_services(settings: Settings) -> Iterator[Services]:
    check_listening(settings)
    with open_services(settings) as opened, listening(opened) as wired:
        yield wired
