"""Reads DICOM files by one library, and answers what each cost.

`python dicom_readers.py READER` in an environment that has the reader; it imports nothing else of
this project. `eclip` is the project itself, at whatever commit that environment holds it;
`eclip:2` is the same with a reducing gap of 2. Each line on standard input is a path. Each answer
is a line of JSON:

- `read_ms`, `cpu_ms`: CPU-milliseconds until the pixels are an array, and until they are the
  tower's input of 224×224; of this process, of the children that it has waited for, and of those
  that live. `wall_ms`: the time that passed until the tower's input.
- or `error`: the name of the exception's type.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE = 224
Reader = tuple[Callable[[str], Any], Callable[[Any], Any]]
"""(path → pixels, pixels → the tower's input)"""


def eclip(gap: float | None) -> Reader:
    """This project: a radiograph as it is displayed, and its own preprocessing."""
    from service.bundle.preprocess import ImageSpec, preprocess
    from service.imaging.decode import ImageLimits, decode

    spec, limits = ImageSpec(height=SIDE, width=SIDE, reducing_gap=gap), ImageLimits()

    def prepare(radiograph: Any) -> Any:
        if hasattr(radiograph, "prepared"):  # the earlier build has only the function
            return radiograph.prepared(spec)
        return preprocess(radiograph.pixels, spec)

    return lambda path: decode(Path(path).read_bytes(), limits, spec), prepare


def pydicom() -> Reader:
    """Stored values, by the plugin that pydicom takes first of those installed."""
    from pydicom import dcmread

    return lambda path: dcmread(path).pixel_array, as_open_clip()


def pydicom_window() -> Reader:
    """Display values, by pydicom's functions for the modality LUT and the window."""
    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    def read(path: str) -> Any:
        dataset = dcmread(path)
        values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
        return -values if dataset.PhotometricInterpretation == "MONOCHROME1" else values

    return read, as_open_clip()


def monai() -> Reader:
    """Stored values after the modality LUT, by pydicom."""
    from monai.transforms import LoadImage

    load = LoadImage(reader="PydicomReader", image_only=True)
    return lambda path: load(path).numpy(), as_open_clip()


def simpleitk() -> Reader:
    """Stored values after the modality LUT, by GDCM inside ITK."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return lambda path: sitk.GetArrayFromImage(sitk.ReadImage(path)), as_open_clip()


def torchxrayvision() -> Reader:
    """Stored values scaled to [-1024, 1024] and turned to MONOCHROME2, by pydicom."""
    from torchxrayvision.utils import read_xray_dcm

    return read_xray_dcm, as_open_clip()


def as_open_clip() -> Callable[[Any], Any]:
    """open_clip's evaluation transform of the image in 256 grey levels from its least to its most.

    Without a window: that is faster than what a radiograph needs.
    """
    import numpy as np
    import torch
    from open_clip.transform import image_transform
    from PIL import Image

    torch.set_num_threads(1)
    transform = image_transform(SIDE, is_train=False)

    def prepare(values: Any) -> Any:
        least, most = values.min(), values.max()
        scale = np.float32(255 / max(1, float(most) - float(least)))
        levels = ((np.squeeze(values).astype(np.float32) - least) * scale).astype(np.uint8)
        return transform(Image.fromarray(levels))

    return prepare


READERS: dict[str, Callable[[], Reader]] = {
    "eclip": lambda: eclip(None),
    "eclip:2": lambda: eclip(2.0),
    "pydicom": pydicom,
    "pydicom, window": pydicom_window,
    "MONAI": monai,
    "SimpleITK": simpleitk,
    "torchxrayvision": torchxrayvision,
}


def main(name: str) -> None:
    """Answers every line. What the reader prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    reader = READERS[name]()
    for line in sys.stdin:
        answers.write(json.dumps(answer(reader, line.rstrip("\n"))) + "\n")


def answer(reader: Reader, path: str) -> dict[str, float | str]:
    """Reads one file and returns what it cost, or the type of the error."""
    read, prepare = reader
    before, start = cpu_s(), time.perf_counter()
    try:
        pixels = read(path)
        middle = cpu_s()
        prepare(pixels)
    except Exception as error:  # whatever a reader raises is its answer
        return {"error": type(error).__name__}
    wall, after = time.perf_counter() - start, cpu_s()
    return {
        "read_ms": 1000 * (middle - before),
        "cpu_ms": 1000 * (after - before),
        "wall_ms": 1000 * wall,
    }


def cpu_s() -> float:
    """Returns the CPU-seconds of this process and its descendants until now, without rounding."""
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    live = sum(map(_process_s, _descendants(os.getpid())))
    return live + reaped.ru_utime + reaped.ru_stime + time.process_time()


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _process_s(pid: int) -> float:
    """Returns a process's CPU-seconds; /proc has them in steps of 10 ms only."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        return 0.0  # it has ended
    return time.clock_gettime(clock.value)


if __name__ == "__main__":
    main(sys.argv[1])
