"""Sends OpenTelemetry spans of requests and their stages, with W3C trace context.

Like a log line, a span names its route by template and holds no identifier.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog import get_logger

CLOSE_S = 2.0
"""Seconds that a collector may take for the remaining spans when the server ends."""
_NAME = "eclip"
_tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)
"""The tracer of the current request, if any."""


@contextmanager
def sending_spans(endpoint: str | None) -> Iterator[Tracer]:
    """Gives a tracer whose spans go to an OTLP collector (its `/v1/traces` over HTTP).

    No proxy of the environment is used and no redirect is followed. At the end the remaining spans
    are sent, for at most `CLOSE_S`. Without an endpoint nothing is sent. While the collector is
    away its spans are lost, and requests are served as usual.
    """
    if endpoint is None:
        yield NoOpTracer()
        return
    session = requests.Session()
    session.trust_env = False
    with spans_to(_BriefEnd(OTLPSpanExporter(endpoint=endpoint, session=session))) as tracer:
        yield tracer


class _BriefEnd(BatchSpanProcessor):
    """Sends spans in batches; at the end, leaves those that are not sent within `CLOSE_S`.

    OpenTelemetry's own shutdown tries each remaining batch for ten seconds, thirty in all.
    """

    def shutdown(self) -> None:
        """Sends the remaining spans, or logs that some are lost."""
        sending = threading.Thread(target=super().shutdown, daemon=True)
        sending.start()
        sending.join(CLOSE_S)
        if sending.is_alive():
            why = f"the collector did not take all of them within {CLOSE_S:g} s"
            get_logger().warning("spans lost", why=why)


@contextmanager
def spans_to(processor: SpanProcessor) -> Iterator[Tracer]:
    """Gives a tracer whose spans go to the processor, which is flushed at the end.

    The tracer has a provider of its own: a process has one global provider, which can neither be
    closed nor replaced.
    """
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: _NAME}), shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    try:
        yield provider.get_tracer(_NAME)
    finally:
        provider.shutdown()


@contextmanager
def request_span(tracer: Tracer, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """Gives the span of one request, within the caller's trace if `traceparent` names one.

    `tracestate` and `baggage` are not read: a caller may write any text into them.
    """
    token = _tracer.set(tracer)
    try:
        with tracer.start_as_current_span(
            method, context=_callers_trace(headers), kind=SpanKind.SERVER, record_exception=False
        ) as span:
            span.set_attribute("http.request.method", method)
            yield span
    finally:
        _tracer.reset(token)


def _callers_trace(headers: Mapping[str, str]) -> Context:
    sent = headers.get("traceparent", "")
    return TraceContextTextMapPropagator().extract({"traceparent": sent})


def answered(span: Span, method: str, route: str, status: int, asked_by: str | None) -> None:
    """Records how the request ended. asked_by: name of its API key, if it had one."""
    span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if asked_by is not None:
        span.set_attribute("enduser.id", asked_by)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def stage_span(stage: str, seconds: float, ago: float = 0.0) -> None:
    """Records a stage of the current request, if any.

    seconds: how long the stage took. ago: seconds since it ended.
    """
    tracer = _tracer.get()
    if tracer is None or not trace.get_current_span().is_recording():
        return
    end = time.time_ns() - int(ago * 1e9)
    tracer.start_span(stage, start_time=end - int(seconds * 1e9)).end(end)


def trace_id() -> str | None:
    """Returns the id of the current trace in hexadecimal, or None if nothing is traced."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None
