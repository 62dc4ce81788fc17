"""Trains CLIP on radiographs, reports and gaze, measures it, and exports bundles."""

import service  # noqa: F401 — first of all: it switches ONNX Runtime's telemetry off
