#!/usr/bin/env bash
# OpenTelemetry holds up the end of a process for half a minute where the collector is silent.
#
# Expected: the provider's shutdown ends within the time that `export_timeout_millis` sets.
# Happens: that argument is not used. Each waiting batch is tried for ten seconds, one after the
#   other, thirty seconds in all; where nobody listens, a batch is tried for some seconds.
# Why it matters: a hospital's container is given a time to stop. A collector that hangs then uses
#   it up, and the requests that are still being answered are killed.
# What we do: the shutdown runs in a thread that is left after two seconds, and the log says that
#   spans are lost (service/tracing.py).
#
# Seen:
#   opentelemetry-sdk 1.45.2 with export_timeout_millis=500
#   nobody listens, 1 span: shutdown takes 6 s
#   silent, 1 span: shutdown takes 10 s
#   silent, 2,000 spans: shutdown takes 30 s
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import logging
import socket
import sys
import time
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def shutdown_s(port, spans):
    """Seconds that the shutdown takes with so many spans waiting."""
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
    processor = BatchSpanProcessor(exporter, export_timeout_millis=500)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    for _ in range(spans):
        provider.get_tracer("probe").start_span("request").end()
    start = time.monotonic()
    provider.shutdown()
    return time.monotonic() - start


logging.disable()
with socket.create_server(("127.0.0.1", 0)) as unused:
    absent = unused.getsockname()[1]
with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers none
    port = silent.getsockname()[1]
    found = {
        "nobody listens, 1 span": shutdown_s(absent, 1),
        "silent, 1 span": shutdown_s(port, 1),
        "silent, 2,000 spans": shutdown_s(port, 2000),
    }
print("opentelemetry-sdk", version("opentelemetry-sdk"), "with export_timeout_millis=500")
for case, seconds in found.items():
    print(f"{case}: shutdown takes {seconds:.0f} s")

one_absent, one_silent, many_silent = found.values()
expect(one_absent > 2, "an absent collector is given up within two seconds")
expect(one_silent > 5, "the time of an export is bounded")
expect(many_silent > 20, "the time of the whole shutdown is bounded")
PYTHON
