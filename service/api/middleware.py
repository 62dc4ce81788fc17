"""Wraps every request: gives it an id, bounds its body, times it and logs it in one line."""

import asyncio
import re
import time
import uuid
from http import HTTPMethod

from opentelemetry.trace import NoOpTracer, Tracer
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.context import Services
from service.api.problems import unexpected
from service.auth import caller
from service.errors import BodyTooLarge, BodyTooSlow, EncodingUnsupported
from service.memory import RequestMemory
from service.telemetry import REQUESTS, log, request_stages
from service.tracing import answered, request_span, trace_id

_CLIENT_LEFT = 499
"""HTTP status in logs and metrics when the client left before the answer (nginx's number)."""
_ALONE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}
"""Headers by which a browser keeps every answer from other sites' pages."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OTHER_METHOD = "_OTHER"
"""The name of unknown methods in logs and traces (OpenTelemetry's): a caller may write any word."""


class RequestEnvelope:
    """Middleware that adds headers to every answer, and counts, traces and logs requests.

    No answer may be stored on its way or by a browser, nor shown in another site's page, because
    most hold a patient's data.

    A request is named by its route template, never by its path, which may hold an identifier. An
    unexpected exception becomes an answer and a log line without the exception's message.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wraps one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent_headers = Headers(scope=scope)
        request_id = _request_id(sent_headers)
        scope.setdefault("state", {})["request_id"] = request_id
        start = time.perf_counter()
        status, started = 500, False
        method = scope["method"] if scope["method"] in HTTPMethod.__members__ else _OTHER_METHOD
        with request_stages() as stages, request_span(_tracer(scope), method, sent_headers) as span:

            async def send_with_headers(message: Message) -> None:
                nonlocal status, started
                if message["type"] == "http.response.start":
                    status, started = message["status"], True
                    headers = MutableHeaders(scope=message)
                    headers["X-Request-ID"] = request_id
                    headers.update(_ALONE)
                    headers.setdefault("Cache-Control", "no-store")
                    total = {"total": time.perf_counter() - start}
                    headers["Server-Timing"] = _server_timing(stages | total)
                await send(message)

            try:
                await self.app(scope, receive, send_with_headers)
            except ClientDisconnect:
                status = _CLIENT_LEFT
            except Exception as error:  # caught here, as uvicorn would log its message
                answer = unexpected(scope, error)
                if not started:
                    await answer(scope, receive, send_with_headers)
            finally:
                route = getattr(scope.get("route"), "path_format", "none")
                REQUESTS.labels(route, str(status)).inc()
                asked_by = scope["state"].get("asked_by")
                answered(span, method, route, status, asked_by)
                log().info(
                    "request",
                    request_id=request_id,
                    trace_id=trace_id(),
                    method=method,
                    route=route,
                    status=status,
                    asked_by=asked_by,
                    client=caller(scope),
                    ms=round((time.perf_counter() - start) * 1000, 1),
                    **{f"{name}_ms": round(s * 1000, 1) for name, s in stages.items()},
                )


class Heads:
    """Middleware that answers HEAD as GET, without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, as GET if it is HEAD."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)


class BodyBounds:
    """Middleware that refuses bodies: too large, too slow, too many at once, or compressed.

    A body over `max_bytes` is refused at once when its declared length says so, else while it
    arrives. A body must arrive within `seconds`. Its bytes count as held, of the memory that all
    requests share, until the request is answered. (Starlette's own limit answers in plain text,
    not as a problem.)
    """

    def __init__(self, app: ASGIApp, max_bytes: int, memory: RequestMemory, seconds: float) -> None:
        self.app, self.max_bytes, self.memory, self.seconds = app, max_bytes, memory, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts the bytes of one request until it is answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "0")
        compressed = headers.get("content-encoding", "").strip().lower() not in ("", "identity")
        late = asyncio.get_running_loop().time() + self.seconds
        received, whole = 0, False
        held = self.memory.request()
        scope.setdefault("state", {})["held"] = held

        async def counted() -> Message:
            nonlocal received, whole
            if compressed:
                raise EncodingUnsupported(
                    "The request body is compressed. Send it without `Content-Encoding`."
                )
            if declared.isdigit() and int(declared) > self.max_bytes:
                raise self._too_large()
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(late):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            size = len(message.get("body", b""))
            received += size
            whole = not message.get("more_body", False)
            if received > self.max_bytes:
                raise self._too_large()
            held.add(size)
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            held.keep(0)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request body is over the limit of {self.max_bytes} bytes. Send fewer or smaller "
            "items, or raise ECLIP_MAX_BODY_BYTES."
        )

    def _too_slow(self) -> BodyTooSlow:
        return BodyTooSlow(
            f"The request body did not arrive within {self.seconds:g} s. Send fewer or smaller "
            "items, or raise ECLIP_BODY_S."
        )


def _request_id(headers: Headers) -> str:
    """Returns the caller's id if it is one plain word, which goes into log lines, or a new one."""
    sent = headers.getlist("x-request-id")
    return sent[0] if len(sent) == 1 and _REQUEST_ID.fullmatch(sent[0]) else uuid.uuid4().hex


def _tracer(scope: Scope) -> Tracer:
    """Returns the service's tracer, or one that sends nothing if the services are not open."""
    services: Services | None = getattr(scope["app"].state, "services", None)
    return NoOpTracer() if services is None else services.tracer


def _server_timing(stages: dict[str, float]) -> str:
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in stages.items())
