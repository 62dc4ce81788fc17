"""The microservice: bytes → Radiograph → vector → cases → evidence → report."""

import os

# ONNX Runtime reports its sessions to its maker unless this stands before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
