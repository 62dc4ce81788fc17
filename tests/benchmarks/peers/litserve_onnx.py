"""Serves the same ONNX graph with LitServe, batched as its documentation shows.

Run `python litserve_onnx.py GRAPH PORT` in an environment of its own; it imports nothing of this
project.
"""

import base64
import io
import sys

import litserve
import numpy as np
import onnxruntime
from PIL import Image

GRAPH, PORT = sys.argv[1:]
SIDE, BATCH, WAIT_S = 224, 8, 0.005


class Embed(litserve.LitAPI):
    """Base64 JPEG → unit vector."""

    def setup(self, device):  # noqa: ARG002 — as LitServe calls it
        """Open the graph on every core."""
        self.session = onnxruntime.InferenceSession(GRAPH, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        """One request → uint8[H,W]."""
        image = Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("L")
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))

    def batch(self, inputs):
        """Requests → uint8[N,H,W]."""
        return np.stack(inputs)

    def predict(self, pixels):
        """uint8[N,H,W] → float32[N,D]."""
        return self.session.run(["embedding"], {"pixels": pixels})[0]

    def unbatch(self, output):
        """float32[N,D] → its rows."""
        return list(output)

    def encode_response(self, output):
        """A row → JSON."""
        return output.tolist()


if __name__ == "__main__":
    server = litserve.LitServer(
        Embed(max_batch_size=BATCH, batch_timeout=WAIT_S), accelerator="cpu"
    )
    server.run(port=int(PORT), host="127.0.0.1", log_level="warning", generate_client_file=False)
