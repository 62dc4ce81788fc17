"""Runs the HTTP server of `eclip serve` until a signal ends it."""

import math
import signal
import sys
from collections.abc import Callable

import uvicorn

from service.api.context import Services
from service.app import create_app, open_services
from service.settings import Settings


def serve(settings: Settings, when_open: Callable[[Services], None]) -> None:
    """Opens the services, calls `when_open` with them, and answers requests until a signal."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again at its end
    with open_services(settings) as wired:
        when_open(wired)
        uvicorn.run(
            create_app(settings, wired),
            host=settings.host,
            port=settings.port,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=math.ceil(settings.longest_s),
        )
