"""OpenTelemetry spans of requests and their stages, with W3C trace context.

Like the logs, a span names its route by template and holds no identifier.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, Span, SpanKind, Status, StatusCode, Tracer

_NAME = "eclip"
_tracer: Tracer = NoOpTracer()
"""Ours alone: a process has one global provider, which can neither be closed nor replaced."""


@contextmanager
def sending_spans(endpoint: str | None) -> Iterator[None]:
    """Send spans to an OTLP collector (its `/v1/traces` over HTTP) until the end; None sends none.

    One that is away loses its spans, and harms no request.
    """
    if endpoint is None:
        yield
        return
    with spans_to(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))):
        yield


@contextmanager
def spans_to(processor: SpanProcessor) -> Iterator[None]:
    """Hand spans to a processor; what it holds at the end is flushed."""
    global _tracer
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: _NAME}), shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer(_NAME)
    try:
        yield
    finally:
        _tracer = NoOpTracer()
        provider.shutdown()


@contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """The span of one request, within its caller's trace where `traceparent` names one."""
    with _tracer.start_as_current_span(
        method, context=extract(headers), kind=SpanKind.SERVER, record_exception=False
    ) as span:
        span.set_attribute("http.request.method", method)
        yield span


def answered(span: Span, method: str, route: str, status: int) -> None:
    """How the request ended."""
    span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def stage_span(stage: str, seconds: float, ago: float = 0.0) -> None:
    """A stage of the current request, if any: it took `seconds` and ended `ago` seconds ago."""
    if not trace.get_current_span().is_recording():
        return
    end = time.time_ns() - int(ago * 1e9)
    _tracer.start_span(stage, start_time=end - int(seconds * 1e9)).end(end)


def trace_id() -> str | None:
    """Of the current span, in hexadecimal; None where nothing is traced."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None
