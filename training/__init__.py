"""Training: studies → CLIP → evaluation → a bundle that the service reads."""

import service  # noqa: F401 — first of all, so that ONNX Runtime stays silent here too
