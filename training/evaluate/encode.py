"""A bundle's towers in plain ONNX Runtime: evaluation measures what the service will serve."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.bundle.manifest import IMAGE_TOWER, TEXT_TOWER, Bundle
from training.data.pairs import Levels

FloatArray = npt.NDArray[np.float32]
BATCH = 64


def encode_images(bundle: Bundle, pixels: Levels) -> FloatArray:
    """uint8[N,H,W] at the tower's input size → float32[N,D]."""
    return _run(bundle, IMAGE_TOWER, "pixels", pixels)


def encode_texts(bundle: Bundle, texts: Sequence[str]) -> FloatArray:
    """N texts → float32[N,D]."""
    return _run(bundle, TEXT_TOWER, "tokens", bundle.tokenizer(texts).ids)


def _run(
    bundle: Bundle, tower: str, name: str, inputs: Levels | npt.NDArray[np.int64]
) -> FloatArray:
    session = onnxruntime.InferenceSession(bundle.path / tower, providers=["CPUExecutionProvider"])
    starts = range(0, len(inputs), BATCH)
    return np.concatenate(
        [session.run(["embedding"], {name: inputs[s : s + BATCH]})[0] for s in starts]
    )
