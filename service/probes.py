"""Says how each part of a running server is asked whether it works."""

import socket
from contextlib import suppress
from functools import partial

from service.api.context import Services
from service.cases.places import renditions_of
from service.cases.soundness import missing_renditions, missing_studies, require_found
from service.disk import free_bytes
from service.errors import StoreFull
from service.files import disk_errors
from service.health import READY, Part
from service.telemetry import DISK_FREE, READ_ONLY

_CONNECT_S = 2.0
"""Seconds that a language model's server may take to accept a connection."""


def parts_of(wired: Services) -> list[Part]:
    """Returns the parts that may fail while the server runs."""
    asked = {"store": _store, "disk": _disk, "renditions": _renditions, "audit": _audit}
    parts = [Part(name, partial(ask, wired)) for name, ask in asked.items()]
    if wired.settings.llm_url:
        parts.append(Part("language_model", partial(_language_model, wired), on_request=False))
    if wired.pacs_state is not None:
        parts.append(Part("pacs", wired.pacs_state))
    return parts


def _store(wired: Services) -> str:
    store = wired.library.store
    store.check()
    require_found(store)
    return missing_studies(store) or READY


def _disk(wired: Services) -> str:
    """Says that studies are refused for lack of room: no fault, because reads go on."""
    settings = wired.settings
    renditions = renditions_of(settings.data_dir, settings.collection, settings.disk_reserve_bytes)
    directories = {
        "library": settings.data_dir / settings.collection,
        "renditions": renditions.folder,
        "audit": settings.data_dir / "audit",
    }
    with disk_errors("the data directory"):
        for name, directory in directories.items():
            DISK_FREE.labels(name).set(free_bytes(directory))
    try:
        wired.library.store.check_room()
        renditions.check_room()
    except StoreFull as full:
        READ_ONLY.set(1)
        return f"read-only: {full.detail}"
    READ_ONLY.set(0)
    return READY


def _renditions(wired: Services) -> str:
    settings = wired.settings
    renditions = renditions_of(settings.data_dir, settings.collection)
    with suppress(StoreFull):  # the disk's part says so
        renditions.check()
    return missing_renditions(wired.library.store, renditions) or READY


def _audit(wired: Services) -> str:
    wired.reporter.audit.check()
    return READY


def _language_model(wired: Services) -> str:
    """Says that no server of the model takes connections. Only its reports are refused then."""
    for url in wired.settings.llm_url:
        with (
            suppress(OSError),
            socket.create_connection((url.host or "", url.port or 0), timeout=_CONNECT_S),
        ):
            return READY
    return "away: no server of ECLIP_LLM_URL takes connections. Its reports are answered 503"
