"""Program that decodes one image and prints the bytes estimated for it and the bytes it took.

Arguments: a name of `KINDS`, and the side in pixels. Run it in a process of its own, because the
kernel's greatest resident size is one number for the whole process.
"""

import io
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from service.bundle.preprocess import ImageSpec, preprocess
from service.imaging.decode import ImageLimits, decode
from service.memory import return_freed_memory
from tests.support.archive import JPEG_XL, JPEG_XL_FROM_JPEG, JPEG_XL_LOSSLESS, archived

SPEC = ImageSpec(height=96, width=96)


def main(kind: str, side: int) -> None:
    """Decodes a small image first, which loads the libraries."""
    return_freed_memory()
    decode(KINDS[kind](300), ImageLimits(), SPEC)
    data, estimates = KINDS[kind](side), list[int]()
    limits = ImageLimits(max_bytes=2**30)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    with _ChildrenWatched() as children:
        radiograph = decode(data, limits, SPEC, estimates.append)
        preprocess(radiograph.pixels, SPEC)
        radiograph.reduced(1024)
    took = resident("VmHWM") - before + children.most
    sys.stdout.write(f"{estimates[0]} {took}\n")


class _ChildrenWatched:
    """The greatest resident size of any child process meanwhile, as `most`."""

    def __enter__(self) -> "_ChildrenWatched":
        self.most, self._end = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.005):
            for task in Path("/proc/self/task").iterdir():
                try:
                    for child in (task / "children").read_text(encoding="ascii").split():
                        self.most = max(self.most, resident("VmHWM", child))
                except (OSError, StopIteration):
                    continue


def resident(name: str, process: str = "self") -> int:
    """Returns a size in bytes, such as VmRSS, that the kernel tells of a process."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def _ramp(side: int, levels: int = 2**16) -> np.ndarray:
    return np.add.outer(np.arange(side), np.arange(side)) % levels


def _gray(side: int) -> Image.Image:
    return Image.fromarray((_ramp(side) % 251).astype(np.uint8))


def _picture(mode: str, form: str, **options: object) -> Callable[[int], bytes]:
    def made(side: int) -> bytes:
        file, gray = io.BytesIO(), _gray(side)
        if mode == "I;16":
            image = Image.fromarray(_ramp(side).astype(np.uint16))
        elif mode in ("L", "P", "1"):
            image = gray.convert(mode)
        else:
            image = Image.merge(mode, [gray] * len(mode))
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.fromarray((_ramp(side) % 241).astype(np.uint8)))
        image.save(file, form, **options)
        return file.getvalue()

    return made


def _deep_png(colour: int, channels: int) -> Callable[[int], bytes]:
    """PNGs with 16 bits for each of several channels, which Pillow does not write."""

    def made(side: int) -> bytes:
        rows = np.repeat(_ramp(side).astype(">u2")[..., None], channels, axis=2)
        lines = b"".join(b"\0" + row.tobytes() for row in rows)
        header = struct.pack(">IIBBBBB", side, side, 16, colour, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
            for kind, content in chunks
        )  # fmt: skip

    return made


def _dicom(
    bits: int,
    syntax: uid.UID = uid.ExplicitVRLittleEndian,
    plugin: str = "",
    *,
    noise: bool = False,
    **elements: object,
) -> Callable[[int], bytes]:
    def made(side: int) -> bytes:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = (
            uid.DigitalXRayImageStorageForPresentation
        )
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
        dataset.Modality, dataset.Rows, dataset.Columns = "DX", side, side
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        for name, value in elements.items():
            setattr(dataset, name, value)
        values = _ramp(side, 251 if bits == 8 else 60_000).astype(f"<u{bits // 8}")
        if noise:
            values ^= np.random.default_rng(0).integers(0, 2**bits, values.shape, values.dtype)
        if dataset.SamplesPerPixel == 3:
            values, dataset.PlanarConfiguration = np.repeat(values[..., None], 3, axis=2), 0
        dataset.PixelData = values.tobytes()
        if plugin:
            dataset.compress(syntax, encoding_plugin=plugin)
        file = io.BytesIO()
        pydicom.dcmwrite(file, dataset, enforce_file_format=False)
        return file.getvalue()

    return made


def _archived(syntax: uid.UID, bits: int = 16, *, noise: bool = False) -> Callable[[int], bytes]:
    def made(side: int) -> bytes:
        values = _ramp(side, 2**bits - 5).astype(np.uint8 if bits == 8 else np.uint16)
        if noise:
            values ^= np.random.default_rng(0).integers(0, 2**bits, values.shape, values.dtype)
        return archived(syntax, values, bits)

    return made


def _claimed_as_16_bits(made: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """DICOM files whose compressed frame has more bits than the header says."""

    def claimed(side: int) -> bytes:
        dataset = pydicom.dcmread(io.BytesIO(made(side)), force=True)
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        file = io.BytesIO()
        pydicom.dcmwrite(file, dataset, enforce_file_format=False)
        return file.getvalue()

    return claimed


TURNED = Image.Exif()
TURNED[0x0112] = 6
COLOUR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
STRETCHED = {"PixelSpacing": [2.0, 1.0]}
KINDS: dict[str, Callable[[int], bytes]] = {
    "png 1": _picture("1", "PNG"),
    "png L": _picture("L", "PNG"),
    "png L, stretched": _picture("L", "PNG", dpi=(100, 50)),
    "png L, one gray transparent": _picture("L", "PNG", transparency=5),
    "png P": _picture("P", "PNG"),
    "png RGB": _picture("RGB", "PNG"),
    "png RGB, stretched": _picture("RGB", "PNG", dpi=(100, 50)),
    "png RGB, one colour transparent": _picture("RGB", "PNG", transparency=(5, 5, 5)),
    "png LA": _picture("LA", "PNG"),
    "png RGBA": _picture("RGBA", "PNG"),
    "png I;16": _picture("I;16", "PNG"),
    "png I;16, stretched": _picture("I;16", "PNG", dpi=(100, 50)),
    "png I;16, one gray transparent": _picture("I;16", "PNG", transparency=5),
    "png of 16-bit LA": _deep_png(4, 2),
    "png of 16-bit RGB": _deep_png(2, 3),
    "png of 16-bit RGBA": _deep_png(6, 4),
    "jpeg L": _picture("L", "JPEG"),
    "jpeg L, progressive": _picture("L", "JPEG", progressive=True, quality=95),
    "jpeg RGB": _picture("RGB", "JPEG"),
    "jpeg RGB, turned": _picture("RGB", "JPEG", exif=TURNED),
    "jpeg RGB, progressive": _picture("RGB", "JPEG", progressive=True, subsampling=0),
    "jpeg CMYK, progressive": _picture("CMYK", "JPEG", progressive=True, subsampling=0),
    "dicom 8": _dicom(8),
    "dicom 16": _dicom(16),
    "dicom 16, stretched": _dicom(16, **STRETCHED),
    "dicom 32": _dicom(32, noise=True),
    "dicom in colour": _dicom(8, **COLOUR),
    "dicom RLE": _dicom(16, uid.RLELossless, "pydicom"),
    "dicom RLE of noise": _dicom(16, uid.RLELossless, "pydicom", noise=True),
    "dicom RLE in colour": _dicom(8, uid.RLELossless, "pydicom", **COLOUR),
    "dicom JPEG 2000": _dicom(16, uid.JPEG2000Lossless, "pylibjpeg"),
    "dicom JPEG 2000 in colour": _dicom(8, uid.JPEG2000Lossless, "pylibjpeg", **COLOUR),
    "dicom JPEG 2000 of noise": _dicom(16, uid.JPEG2000Lossless, "pylibjpeg", noise=True),
    "dicom JPEG 2000, deeper than claimed": _claimed_as_16_bits(
        _dicom(32, uid.JPEG2000Lossless, "pylibjpeg", BitsStored=20, HighBit=19)
    ),
    "dicom JPEG-LS of noise": _dicom(16, uid.JPEGLSLossless, "pyjpegls", noise=True),
    "dicom JPEG-LS": _dicom(16, uid.JPEGLSLossless, "pyjpegls"),
    "dicom JPEG-LS in colour": _dicom(8, uid.JPEGLSLossless, "pyjpegls", **COLOUR),
    "dicom JPEG": _archived(uid.JPEGBaseline8Bit, 8),
    "dicom JPEG of 12 bits": _archived(uid.JPEGExtended12Bit, 12),
    "dicom JPEG of noise in 12 bits": _archived(uid.JPEGExtended12Bit, 12, noise=True),
    "dicom lossless JPEG": _archived(uid.JPEGLosslessSV1),
    "dicom lossless JPEG of noise": _archived(uid.JPEGLosslessSV1, noise=True),
    "dicom HTJ2K": _archived(uid.HTJ2KLossless),
    "dicom HTJ2K of noise": _archived(uid.HTJ2KLossless, noise=True),
    "dicom JPEG XL": _archived(JPEG_XL_LOSSLESS),
    "dicom JPEG XL of noise": _archived(JPEG_XL_LOSSLESS, noise=True),
    "dicom JPEG XL, lossy": _archived(JPEG_XL),
    "dicom JPEG XL from JPEG": _archived(JPEG_XL_FROM_JPEG, 8),
}  # fmt: skip
"""Kinds of files that the service decodes → the file of a square image of this side."""

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
