"""ONNX Runtime sessions for a bundle's two towers, and their self-test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.bundle.manifest import IMAGE_TOWER, TEXT_TOWER, Bundle, golden_pixels
from service.errors import BundleNotReady
from service.telemetry import log

FloatArray = npt.NDArray[np.float32]
GOLDEN_COSINE = 0.999


class Towers:
    """A bundle's image and text tower. Thread-safe, as ONNX Runtime's sessions are."""

    def __init__(self, bundle: Bundle, providers: Sequence[str], threads: int | None) -> None:
        chosen = choose_providers(providers, onnxruntime.get_available_providers())
        self._image = _open(bundle.path / IMAGE_TOWER, chosen, threads)
        self._text = _open(bundle.path / TEXT_TOWER, chosen, threads)
        for session in (self._image, self._text):
            check_in_use(providers, session.get_providers())
        log().info(
            "towers opened",
            bundle=bundle.manifest.id[:12],
            image=self._image.get_providers(),
            text=self._text.get_providers(),
        )

    def image(self, pixels: npt.NDArray[np.uint8]) -> FloatArray:
        """uint8[N,H,W] → unit float32[N,D]."""
        embedding: FloatArray = self._image.run(["embedding"], {"pixels": pixels})[0]
        return embedding

    def patches(self, pixels: npt.NDArray[np.uint8]) -> FloatArray:
        """uint8[N,H,W] → unit float32[N,G,G,D]; only for bundles with a patch grid."""
        patches: FloatArray = self._image.run(["patches"], {"pixels": pixels})[0]
        return patches

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """int64[N,L] → unit float32[N,D]."""
        embedding: FloatArray = self._text.run(["embedding"], {"tokens": tokens})[0]
        return embedding


def choose_providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """What the operator named, all of it, or CUDA where present and the CPU."""
    missing = [name for name in wanted if name not in available]
    if missing:
        raise BundleNotReady(
            f"ECLIP_PROVIDERS names {', '.join(missing)}, which this onnxruntime lacks. "
            f"It has {', '.join(available)}."
        )
    if wanted:
        return list(wanted)
    return [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]


def check_in_use(wanted: Sequence[str], in_use: Sequence[str]) -> None:
    """Refuse the CPU that ONNX Runtime falls back to, saying nothing, for what was named."""
    missing = [name for name in wanted if name not in in_use]
    if missing:
        raise BundleNotReady(
            f"ECLIP_PROVIDERS names {', '.join(missing)}, which onnxruntime could not load. It "
            f"would run on {', '.join(in_use)}. Check the driver and its libraries, or name others."
        )


def self_test(bundle: Bundle, towers: Towers) -> None:
    """Compare with the golden embeddings of the export; raises BundleNotReady."""
    golden = bundle.manifest.golden
    image = towers.image(golden_pixels(bundle.manifest.image))[0]
    text = towers.text(bundle.tokenizer([golden.text]).ids)[0]
    for tower, got, expected in (
        ("image", image, golden.image_vector()),
        ("text", text, golden.text_vector()),
    ):
        cosine = float(got @ expected)
        if not cosine >= GOLDEN_COSINE:
            raise BundleNotReady(
                f"The {tower} tower's golden embedding is off: cosine {cosine:.4f} to the one "
                f"recorded at export (at least {GOLDEN_COSINE} needed). Choose other providers."
            )


def _open(
    path: Path, providers: Sequence[str], threads: int | None
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=list(providers))
