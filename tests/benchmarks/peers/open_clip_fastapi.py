"""Serves open_clip with FastAPI, as its users write it first: a handler in the thread pool.

Run `python -m tests.benchmarks.peers.open_clip_fastapi CHECKPOINT PORT`.
"""

import io
import sys
from typing import Annotated

import open_clip
import torch
import uvicorn
from fastapi import Body, FastAPI
from PIL import Image

checkpoint, port = sys.argv[1:]
model, _, transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=checkpoint)
model.eval()
app = FastAPI()


@app.post("/embed")
def embed(data: Annotated[bytes, Body(media_type="image/jpeg")]) -> list[float]:
    """JPEG → unit vector."""
    pixels = transform(Image.open(io.BytesIO(data)).convert("RGB"))[None]
    with torch.inference_mode():
        vector: list[float] = model.encode_image(pixels, normalize=True)[0].tolist()
    return vector


if __name__ == "__main__":
    uvicorn.run(app, port=int(port), log_level="warning")
