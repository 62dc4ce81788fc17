"""Measures the decoders of each transfer syntax on one radiograph (the table in docs/dicom.md).

    python -m tests.benchmarks.codecs [--rounds 7]

The radiograph has 2500 × 2048 pixels of 12 bits: a smooth chest with grain of sigma 12. Decoders
take turns; the figures are medians. CPU time is that of this process and of decoder processes. A
decoder holds the interpreter if another thread waits for more than half of the time that it takes.
"""

import argparse
import io
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from service.imaging.dicom import codecs, jpeg2000
from service.imaging.dicom.attributes import complete
from service.imaging.dicom.frames import read_header
from service.imaging.dicom.header import read_dataset
from service.imaging.dicom.pixels import stored_words
from service.imaging.dicom.syntaxes import codec, is_native
from tests.support.archive import ENCODERS, JPEG_XL_LOSSLESS, LOSSY, archived

SHAPE, BITS, GRAIN = (2500, 2048), 12, 12
Decode = Callable[[], np.ndarray]


def radiograph() -> np.ndarray:
    """A smooth chest with grain: uint16[2500, 2048] of 12 bits."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    chest = np.exp(-(((x - 1024) / 500) ** 2)) + 0.3 * y / 2500 + 0.05 * np.sin(y / 40)
    chest = 200 + 3600 * (chest - chest.min()) / np.ptp(chest)
    grain = np.random.default_rng(0).normal(0, GRAIN, SHAPE)
    return np.clip(chest + grain, 0, 2**BITS - 1).round().astype(np.uint16)


def ours(data: bytes, most: int = 1) -> Decode:
    """The whole way from a dataset to words, with the way to a decoder process and back."""

    def decoded() -> np.ndarray:
        dataset, *_ = read_dataset(data)
        complete(dataset, native=is_native(dataset))
        return stored_words(dataset, most).words

    return decoded


def plugin(data: bytes, name: str) -> Decode:
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    return lambda: pixel_array(dataset, index=0, decoding_plugin=name, correct_unused_bits=False)


def decoders(syntax: uid.UID, data: bytes) -> dict[str, Decode]:
    """The decoders of a syntax by name."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    found: dict[str, Decode] = {"ours, whole way": ours(data)}
    if is_native(dataset):
        return {**found, "pydicom": plugin(data, "")}
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    header = read_header(codec(dataset), dataset, frame)
    if syntax == uid.RLELossless:
        found["imagecodecs (dicomrle)"] = lambda: codecs.decode(header, frame)
        found["Pillow (packbits)"] = lambda: unpacked(header, frame)
        found["pydicom"] = plugin(data, "pydicom")
    elif header.codec == "jpeg":
        found["imagecodecs (jpeg8, libjpeg-turbo)"] = lambda: imagecodecs.jpeg8_decode(frame)
        if syntax == uid.JPEGBaseline8Bit:
            found["Pillow (libjpeg-turbo)"] = lambda: np.asarray(Image.open(io.BytesIO(frame)))
            found["Pillow, a quarter of each side"] = lambda: codecs.decode(header, frame, 2)
        elif syntax not in LOSSY:
            found["imagecodecs (ljpeg, liblj92)"] = lambda: imagecodecs.ljpeg_decode(frame)
            found["imagecodecs (jpegsof3)"] = lambda: imagecodecs.jpegsof3_decode(frame)
            found["python-gdcm"] = plugin(data, "gdcm")
    elif header.codec == "jpeg-ls":
        found["imagecodecs (CharLS)"] = lambda: imagecodecs.jpegls_decode(frame)
        found["pyjpegls (CharLS)"] = plugin(data, "pyjpegls")
    elif header.codec == "jpeg-2000":
        found["imagecodecs (OpenJPEG)"] = lambda: imagecodecs.jpeg2k_decode(frame, numthreads=1)
        found["pylibjpeg-openjpeg"] = plugin(data, "pylibjpeg")
        found["Pillow (OpenJPEG), half of each side"] = lambda: jpeg2000.reduced(header, frame, 1)
        found["Pillow (OpenJPEG), a quarter"] = lambda: jpeg2000.reduced(header, frame, 2)
        found["ours, whole way, a quarter"] = ours(data, 4)
    elif header.codec == "htj2k":
        found["imagecodecs (OpenJPH)"] = lambda: imagecodecs.htj2k_decode(frame)
        found["imagecodecs (OpenJPEG)"] = lambda: imagecodecs.jpeg2k_decode(frame, numthreads=1)
        found["pylibjpeg-openjpeg"] = plugin(data, "pylibjpeg")
        found["imagecodecs (OpenJPH), a quarter"] = lambda: codecs.decode(header, frame, 2)
    else:
        found["imagecodecs (libjxl)"] = lambda: imagecodecs.jpegxl_decode(frame, numthreads=1)
    return found


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def cpu_s() -> float:
    """CPU seconds of this process and of its decoder processes."""
    tasks = [
        each
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text(encoding="ascii").split()
        for each in Path(f"/proc/{child}/task").iterdir()
    ]
    spent = [int((each / "schedstat").read_text(encoding="ascii").split()[0]) for each in tasks]
    return time.process_time() + sum(spent) / 1e9


def unpacked(header: codecs.FrameHeader, frame: bytes) -> np.ndarray:
    words = np.empty(header.shape(0), header.dtype)
    codecs._unpack(header, frame, words)
    return words


def holds_interpreter(decode: Decode) -> bool:
    """Whether a thread that wants to run every millisecond has to wait meanwhile."""
    thread = threading.Thread(target=decode)
    start = last = time.perf_counter()
    longest = 0.0
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest > (last - start) / 2


def exactness(words: np.ndarray, pixels: np.ndarray) -> str:
    if words.shape != pixels.shape:
        return f"{words.shape[0]} × {words.shape[1]}"
    different = np.abs(words.astype(int) - pixels)
    return "exact" if not different.any() else f"{different.mean():.2f} off, {different.max()} most"


def main(rounds: int) -> None:
    """Prints a line for each decoder of each syntax."""
    pixels = radiograph()
    syntaxes = (
        uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit,
        uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless,
        JPEG_XL_LOSSLESS,
    )  # fmt: skip
    assert set(syntaxes[2:]) <= set(ENCODERS)
    write("| syntax | decoder | CPU ms | all ms | values | holds the interpreter |\n|" + "---|" * 6)
    for syntax in syntaxes:
        data = archived(syntax, pixels, BITS)
        source = pixels >> 4 if syntax == uid.JPEGBaseline8Bit else pixels
        found = decoders(syntax, data)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
        words = {name: decode() for name, decode in found.items()}
        for _ in range(rounds):
            for name, decode in found.items():
                before = cpu_s(), time.perf_counter()
                decode()
                times[name].append((cpu_s() - before[0], time.perf_counter() - before[1]))
        for name, taken in times.items():
            cpu, wall = (1000 * median(column) for column in zip(*taken, strict=True))
            held = "yes" if holds_interpreter(found[name]) else "no"
            values = exactness(words[name], source)
            write(f"| {syntax.name} | {name} | {cpu:.1f} | {wall:.1f} | {values} | {held} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    main(parser.parse_args().rounds)
