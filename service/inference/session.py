"""ONNX Runtime sessions for a bundle's two towers, and their self-test."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.arrays import FloatArray
from service.bundle.manifest import (
    IMAGE_TOWER,
    INT8,
    TEXT_TOWER,
    Bundle,
    Golden,
    Precision,
    golden_pixels,
)
from service.errors import BundleNotReady
from service.telemetry import log

Wanted = Precision | Literal["auto"]
GOLDEN_COSINE = 0.999
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DEFAULT_CALLS = 8
"""Calls side by side on a large machine. Default threads per call: `cores // 8`, at least 1."""


class Towers:
    """A bundle's image and text tower in one precision. Thread-safe, as the sessions are.

    Several threads may call a tower at once, and on a CPU they should: `calls` of them, each with
    its own cores, embed more than one call with all cores does, since a call scales badly.
    """

    def __init__(
        self,
        bundle: Bundle,
        providers: Sequence[str] = (),
        *,
        cores: int = 1,
        threads: int | None = None,
        precision: Wanted = "auto",
    ) -> None:
        chosen = choose_providers(providers, onnxruntime.get_available_providers())
        self.threads = threads or max(1, cores // DEFAULT_CALLS)
        self.precision = choose_precision(bundle, precision, on_cpu=chosen == [CPU])
        names = INT8 if self.precision == "int8" else {t: t for t in (IMAGE_TOWER, TEXT_TOWER)}
        self._image, self._text = (
            _open(bundle.path / names[tower], chosen, self.threads)
            for tower in (IMAGE_TOWER, TEXT_TOWER)
        )
        _give_back_memory()
        for session in (self._image, self._text):
            check_in_use(providers, session.get_providers())
        self.on_cpu = self._image.get_providers() == [CPU]
        self.calls = max(1, cores // self.threads) if self.on_cpu else 1
        log().info(
            "towers opened",
            bundle=bundle.manifest.id[:12],
            precision=self.precision,
            image=self._image.get_providers(),
            text=self._text.get_providers(),
            calls=self.calls,
            threads=self.threads,
        )

    def max_batch(self, wanted: int) -> int:
        """Items that a call should take at most.

        One in int8: activations are scaled by the whole call, and no vector may depend on what
        happened to be encoded beside it.
        """
        return 1 if self.precision == "int8" else wanted

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
    return [p for p in (CUDA, CPU) if p in available]


def choose_precision(bundle: Bundle, wanted: Wanted, *, on_cpu: bool) -> Precision:
    """What was asked for; else int8 on a CPU where the bundle has it, which is faster there.

    Raises BundleNotReady for int8 that the bundle was not exported in.
    """
    there = bundle.manifest.int8 is not None
    if wanted == "auto":
        return "int8" if there and on_cpu else "fp32"
    if wanted == "int8" and not there:
        raise BundleNotReady(
            f"ECLIP_PRECISION is int8, in which bundle {bundle.manifest.name} has no graphs. "
            "Export it with --validation, or choose fp32."
        )
    return wanted


def recorded(bundle: Bundle, precision: Precision) -> Golden:
    """What the export saw the towers of a precision answer."""
    int8 = bundle.manifest.int8
    return int8.golden if int8 is not None and precision == "int8" else bundle.manifest.golden


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
    golden = recorded(bundle, towers.precision)
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
                f"recorded at export (at least {GOLDEN_COSINE} needed). Choose other providers, or "
                "another ECLIP_PRECISION."
            )


def _open(path: Path, providers: Sequence[str], threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=list(providers))


def _give_back_memory() -> None:
    """What parsing the graphs has freed, which glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
