"""Turns chest radiographs into vectors, findings, similar cases and cited reports, over HTTP."""

import os

# ONNX Runtime reports its use to its maker unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
