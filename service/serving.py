"""Runs the HTTP server of `eclip serve` until a signal ends it."""

import math
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.api.context import Services
from service.app import create_app
from service.connections import Connections
from service.listening import check_listening, listening
from service.settings import Settings
from service.telemetry import log
from service.wiring import open_services

ACCEPTED = 128
"""Connections that are accepted at a time. Up to four times as many may be open for a moment above
the bound, until those that make room for them are closed."""
KNOCKING = 2048
"""Connections that the kernel holds until they are accepted. Past it a client tries again in 1 s.
"""


class _Server(uvicorn.Server):
    """uvicorn, with a longer queue in the kernel than it accepts at a time.

    With one number for both, 16 at 256 descriptors, every twentieth client waited for a second.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for bound in server.sockets:
                with bound.dup() as same:
                    same.listen(KNOCKING)
        if self.config.uds:
            log().info("listening", socket=self.config.uds)
        else:
            address = _address(self.config.host, self.servers[0].sockets[0].getsockname()[1])
            log().info("listening", workbench=f"{address}/", api=f"{address}/docs")


def serve(settings: Settings, when_open: Callable[[Services], None]) -> None:
    """Opens the services, calls `when_open` with them, and answers requests until a signal.

    Radiographs are received meanwhile, where the settings say so. Raises SettingInvalid.
    """
    check_listening(settings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again at its end
    bound = affordable(settings.connections)
    connections = Connections(
        bound, head_s=settings.head_s, body_s=settings.body_s, idle_s=settings.idle_s
    )
    with open_services(settings) as opened:
        when_open(opened)
        with listening(opened) as wired:
            server = _Server(_config(settings, wired, connections, bound))
            with suppress(KeyboardInterrupt):
                server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _config(
    settings: Settings, wired: Services, connections: Connections, bound: int
) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings, wired),
        host=settings.host,
        port=settings.port,
        uds=None if settings.socket is None else str(settings.socket),
        http=cast(Any, connections.protocol),
        loop="asyncio",
        ws="none",
        forwarded_allow_ips="127.0.0.1",
        backlog=min(ACCEPTED, max(1, bound // 8)),
        timeout_keep_alive=settings.idle_s,
        timeout_graceful_shutdown=math.ceil(settings.longest_s),
        access_log=False,
        log_config=None,
        log_level="warning",
    )


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def affordable(connections: int) -> int:
    """Returns the connections, or fewer where twice as many descriptors cannot be had.

    The other half is for files and for connections to other servers. The process's soft limit is
    raised as far as that needs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # macOS allows less than its hard limit says
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    log().warning("fewer connections", connections=soft // 2, descriptors=soft)
    return soft // 2
