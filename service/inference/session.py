"""Opens a bundle's towers in ONNX Runtime."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.arrays import FloatArray, UInt8
from service.bundle.manifest import IMAGE_TOWER, INT8, TEXT_TOWER, Bundle, Precision
from service.errors import BundleNotReady
from service.telemetry import log

Wanted = Precision | Literal["auto"]
"""The precision that a user asks for."""
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DEFAULT_CALLS = 8
"""Calls side by side on a large machine. Default threads per call: `cores // 8`, at least 1."""

_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")
"""How ONNX Runtime and the C++ library say that there is too little memory."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the image tower says of where it looked in one image; None for an output it lacks.

    attention: float32[G, G]. patches: float32[G, G, D]. `service.bundle.maps` says what they are.
    """

    attention: FloatArray | None = None
    patches: FloatArray | None = None


class Towers:
    """A bundle's towers in one precision. Thread-safe, as the sessions are.

    Several threads can call a tower at once. On a CPU, `calls` of them with `threads` each encode
    more than one call with all cores, because a single call scales badly.

    providers: names of ONNX Runtime's execution providers; without any, CUDA if present, then the
    CPU. cores: CPU cores for all calls together. threads: cores for one call; the default is
    `cores // DEFAULT_CALLS`, at least 1.

    Raises BundleNotReady if a provider or the precision is not to be had.
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
        self._looks = list(bundle.manifest.map_outputs)
        chosen = choose_providers(providers, onnxruntime.get_available_providers())
        self.threads = threads or max(1, cores // DEFAULT_CALLS)
        self.precision = choose_precision(bundle, precision, on_cpu=chosen == [CPU])
        files = {t: INT8[t] if self.precision == "int8" else t for t in bundle.manifest.towers}
        sessions = {
            tower: _open(bundle.path / name, chosen, self.threads) for tower, name in files.items()
        }
        self._image, self._text = sessions[IMAGE_TOWER], sessions.get(TEXT_TOWER)
        _return_freed_memory()
        for session in sessions.values():
            check_in_use(providers, session.get_providers())
        self.on_cpu = self._image.get_providers() == [CPU]
        self.calls = max(1, cores // self.threads) if self.on_cpu else 1
        log().info(
            "towers opened",
            bundle=bundle.manifest.id[:12],
            precision=self.precision,
            **{Path(tower).stem: each.get_providers() for tower, each in sessions.items()},
            calls=self.calls,
            threads=self.threads,
        )

    @property
    def image_outputs(self) -> set[str]:
        """Names of what the image tower gives."""
        return {output.name for output in self._image.get_outputs()}

    def max_batch(self, wanted: int) -> int:
        """Returns how many items a call may take: `wanted`, and 1 in int8.

        In int8 the activations' scale comes from the whole batch, and no vector may depend on what
        it was encoded with.
        """
        return 1 if self.precision == "int8" else wanted

    def image(self, pixels: UInt8) -> FloatArray:
        """Returns unit float32[N, D] for images uint8[N, H, W]."""
        return _run(self._image, ["embedding"], {"pixels": pixels})[0]

    def looked(self, pixels: UInt8) -> list[Looked]:
        """Returns where the tower looked in each of the images uint8[N, H, W].

        The bundle must have a map.
        """
        outputs = _run(self._image, self._looks, {"pixels": pixels})
        return [
            Looked(**dict(zip(self._looks, of_image, strict=True)))
            for of_image in zip(*outputs, strict=True)
        ]

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """Returns unit float32[N, D] for token ids int64[N, L]. The bundle encodes texts."""
        return _run(self._text, ["embedding"], {"tokens": tokens})[0]


def choose_providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """Returns the wanted providers, or without any CUDA, if available, and the CPU.

    Raises BundleNotReady if a wanted provider is not available.
    """
    missing = [name for name in wanted if name not in available]
    if missing:
        raise BundleNotReady(
            f"ECLIP_PROVIDERS names {', '.join(missing)}, which this onnxruntime lacks. "
            f"Choose from {', '.join(available)}, or install another onnxruntime."
        )
    if wanted:
        return list(wanted)
    return [p for p in (CUDA, CPU) if p in available]


def choose_precision(bundle: Bundle, wanted: Wanted, *, on_cpu: bool) -> Precision:
    """Returns the wanted precision; for "auto" int8 on a CPU if the bundle has it, else fp32.

    Raises BundleNotReady if int8 is wanted and the bundle lacks it.
    """
    has_int8 = bundle.manifest.int8 is not None
    if wanted == "auto":
        return "int8" if has_int8 and on_cpu else "fp32"
    if wanted == "int8" and not has_int8:
        raise BundleNotReady(
            f"ECLIP_PRECISION is int8, but bundle {bundle.manifest.name} has no int8 graphs. "
            "Export it with --validation, or choose fp32."
        )
    return wanted


def check_in_use(wanted: Sequence[str], in_use: Sequence[str]) -> None:
    """Raises BundleNotReady if a wanted provider is not in use.

    ONNX Runtime falls back to the CPU without an error if it cannot load a provider.
    """
    missing = [name for name in wanted if name not in in_use]
    if missing:
        raise BundleNotReady(
            f"ECLIP_PROVIDERS names {', '.join(missing)}, which onnxruntime could not load. It "
            f"would run on {', '.join(in_use)}. Check the driver and its libraries, or choose "
            "others."
        )


def _run(
    session: onnxruntime.InferenceSession, outputs: list[str], inputs: dict[str, npt.NDArray[Any]]
) -> list[FloatArray]:
    """Returns the outputs. Raises MemoryError where ONNX Runtime says in words that it has none."""
    try:
        answers: list[FloatArray] = session.run(outputs, inputs)
    except Exception as error:
        if any(sign in str(error) for sign in _NO_MEMORY):
            raise MemoryError from None
        raise
    return answers


def _open(path: Path, providers: Sequence[str], threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=list(providers))


def _return_freed_memory() -> None:
    """Returns memory freed after parsing the graphs to the system; glibc alone would keep it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
