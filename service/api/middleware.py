"""Around every request: its id, its bounded body, its timings, its one log line."""

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import unexpected
from service.errors import BodyTooLarge
from service.telemetry import REQUESTS, log, request_stages

_CLIENT_LEFT = 499
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


class RequestEnvelope:
    """Adds X-Request-ID and Server-Timing, counts and logs by route template, never by path.

    A defect of ours ends here, as an answer and a log line without its message.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wrap one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        start = time.perf_counter()
        status, started = 500, False
        with request_stages() as stages:

            async def send_with_headers(message: Message) -> None:
                nonlocal status, started
                if message["type"] == "http.response.start":
                    status, started = message["status"], True
                    headers = MutableHeaders(scope=message)
                    headers["X-Request-ID"] = request_id
                    headers["X-Content-Type-Options"] = "nosniff"
                    total = {"total": time.perf_counter() - start}
                    headers["Server-Timing"] = _server_timing(stages | total)
                await send(message)

            try:
                await self.app(scope, receive, send_with_headers)
            except ClientDisconnect:
                status = _CLIENT_LEFT
            except Exception as error:  # raised further, its message would stand in uvicorn's log
                answer = unexpected(request_id, error)
                if not started:
                    await answer(scope, receive, send_with_headers)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                REQUESTS.labels(route, str(status)).inc()
                log().info(
                    "request",
                    request_id=request_id,
                    method=scope["method"],
                    route=route,
                    status=status,
                    ms=round((time.perf_counter() - start) * 1000, 1),
                    **{f"{name}_ms": round(s * 1000, 1) for name, s in stages.items()},
                )


class BodyLimit:
    """Refuses a body over the cap: by its declared length at once, else while it streams.

    Starlette's own limit answers in plain text, where the contract promises problem+json.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes of one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        received = 0

        async def counted() -> Message:
            nonlocal received
            if declared.isdigit() and int(declared) > self.max_bytes:
                raise self._too_large()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise self._too_large()
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body is over the cap of {self.max_bytes} bytes. Send fewer or smaller items."
        )


def _server_timing(stages: dict[str, float]) -> str:
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in stages.items())
