"""Spans as a collector gets them; the collector of the last test is a real one over a socket."""

import gzip
import hashlib
import json
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from service import tracing
from service.settings import Settings
from service.tracing import sending_spans, spans_to
from tests.support.server import in_process

CANARY = "Doe-Jane-19610304"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
def spans(client):
    """Returns the spans of `client` so far."""
    exporter, state = InMemorySpanExporter(), client.app.state
    services = state.services
    with spans_to(SimpleSpanProcessor(exporter)) as tracer:
        state.services = replace(services, tracer=tracer)
        yield exporter.get_finished_spans
    state.services = services


def test_a_request_is_a_span_of_its_callers_trace_and_its_stages_are_within(client, spans):
    client.post("/retrieve", json={"text": "A span of its own."}, headers=PARENT)
    *stages, whole = spans()
    assert {span.context.trace_id for span in spans()} == {int(TRACE, 16)}
    assert whole.name == "POST /retrieve"
    assert whole.attributes["http.response.status_code"] == 200
    assert [span.name for span in stages] == ["queue", "infer", "search"]
    assert all(span.parent.span_id == whole.context.span_id for span in stages)
    queue, infer, _ = stages
    assert whole.start_time <= queue.start_time <= queue.end_time <= infer.end_time


@pytest.mark.usefixtures("spans")
def test_the_log_line_names_the_trace(client):
    with capture_logs() as logs:
        client.get("/health/live", headers=PARENT)
    (line,) = [log for log in logs if log["event"] == "request"]
    assert line["trace_id"] == TRACE


def test_no_span_holds_what_a_caller_sent(client, spans):
    client.get(f"/studies/{CANARY}?patient={CANARY}")
    client.post("/embed/text", json={"texts": [CANARY]})
    client.post("/embed/text", content=CANARY)
    exported = json.dumps(
        [[span.name, dict(span.attributes), str(span.events)] for span in spans()]
    )
    assert "/studies/{study_id}" in exported
    assert CANARY not in exported


def test_a_span_names_the_key_that_asked_and_never_the_key(client, spans):
    keys = {hashlib.sha256(b"k").hexdigest(): ("read",)}
    with in_process(Settings(api_keys=keys), client.app.state.services) as keyed:
        keyed.get("/bundle", headers={"authorization": "Bearer k"})
        keyed.get("/bundle", headers={"authorization": f"Bearer {CANARY}"})
    known, unknown = spans()
    assert known.attributes["enduser.id"] == hashlib.sha256(b"k").hexdigest()[:12]
    assert "enduser.id" not in unknown.attributes
    assert CANARY not in str(unknown.attributes)


def test_a_caller_writes_no_text_into_a_trace(client, spans):
    text = {"tracestate": f"vendor={CANARY}", "baggage": f"patient={CANARY}"}
    client.request(CANARY, "/health/live", headers=PARENT | text)
    (span,) = spans()
    assert span.context.trace_id == int(TRACE, 16)
    assert CANARY not in f"{span.name}{span.attributes}{span.context}{span.parent}"
    client.get("/health/live", headers={"traceparent": f"00-{CANARY}-b7ad6b7169203331-01"})
    assert CANARY not in f"{spans()[-1].parent}{spans()[-1].context}"


def test_a_defect_is_an_error_of_its_span_without_its_message(client, spans, monkeypatch):
    def breaks(*_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(client.app.state.services.library, "get", breaks)
    client.get("/studies/s1")
    (span,) = spans()
    assert not span.status.is_ok
    assert CANARY not in f"{span.status.description}{span.events}"


@pytest.mark.timeout(9)  # OpenTelemetry alone takes ten seconds or more
@pytest.mark.parametrize("waiting", [1, 2000])
@pytest.mark.parametrize("collector", ["silent", "absent"])
def test_a_collector_that_takes_no_spans_does_not_hold_up_the_end(
    closed_port, monkeypatch, collector, waiting
):
    monkeypatch.setattr(tracing, "CLOSE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, capture_logs() as logs:
        port = silent.getsockname()[1] if collector == "silent" else closed_port
        with sending_spans(f"http://127.0.0.1:{port}/v1/traces") as tracer:
            for _ in range(waiting):
                tracer.start_span("request").end()
    assert [log["event"] for log in logs] == ["spans lost"]


@pytest.mark.slow
def test_spans_reach_a_collector_and_one_that_is_away_harms_nobody(tmp_path, closed_port):
    names = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            plain = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            for resource in ExportTraceServiceRequest.FromString(plain).resource_spans:
                names.extend(span.name for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
        with in_process(Settings(data_dir=tmp_path / "a", otlp_url=url)) as traced:
            assert traced.get("/health/live").status_code == 200
        collector.shutdown()
    assert "GET /health/live" in names
    away = Settings(data_dir=tmp_path / "b", otlp_url=f"http://127.0.0.1:{closed_port}/v1/traces")
    with in_process(away) as untraced:
        assert untraced.get("/health/live").status_code == 200
