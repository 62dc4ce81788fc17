"""Decompresses the pixels of a DICOM dataset into the words that are stored (PS3.5 8.2, A.4)."""

import errno
import io
import json
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from service.errors import ImageUndecodable, ImageUnsupported
from service.imaging import jpeg
from service.imaging.dicom.attributes import COMPLETED, is_colour
from service.imaging.dicom.elements import count
from service.imaging.dicom.header import unsupported_syntax

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_CODECS = {
    **dict.fromkeys(_NATIVE, ""),
    RLELossless: "",
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), "pillow"),
    **dict.fromkeys(
        (JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), "pylibjpeg"
    ),
    **dict.fromkeys((JPEGLossless, JPEGLosslessSV1), "gdcm"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
}
"""Transfer syntax → the pydicom plugin that decodes it; uncompressed pixels and RLE need none."""
_APART = frozenset({"gdcm", "pyjpegls"})
"""Plugins that need a process of their own: damaged frames end gdcm's, and keep pyjpegls busy."""
_PROCESS = Path(__file__).with_name("codec_process.py")
_PROCESS_TIMEOUT_S = 60
_JPEG = b"\xff\xd8"
_END_OF_JPEG = b"\xff\xd9"
_JPEG2000 = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class StoredWords:
    """The first frame's words, unsigned[rows, columns], as they are stored; colour as its luma.

    shrunk: by how much each side is smaller than the header's. said: what to say of a header that
    contradicts the pixels.
    """

    words: npt.NDArray[Any]
    shrunk: int
    said: list[str]


def stored_words(dataset: Dataset, most: int = 1) -> StoredWords:  # noqa: ARG001
    """Returns the first frame's words.

    dataset: as `_words` takes it. most: by how much each side may be smaller.
    """
    return StoredWords(*_words(dataset))


def _words(dataset: Dataset) -> tuple[npt.NDArray[Any], int, list[str]]:
    """Returns the first frame's words as unsigned[rows, columns], colour as its luma.

    A word has all the bits that are allocated, whichever of them the header says are stored. Also
    returns what to say of a header that contradicts the pixels.

    dataset: with the attributes that `attributes.complete` fills in.

    Raises ImageUnsupported for a transfer syntax that no codec reads and for colour of more than
    8 bits, ImageUndecodable for a frame that is not of the size in the header, and anything at
    all, from a codec, for damaged pixels.
    """
    syntax = _transfer_syntax(dataset)
    codec = _codec(syntax, int(dataset.BitsStored))
    said: list[str] = []
    if syntax == RLELossless:
        samples = _unpack_rle(dataset)
        if len(samples) == 1:
            return samples[0], 1, said
        _store_native(dataset, samples)
        del samples
    elif syntax.is_encapsulated:
        said = _check_frame(dataset, codec)
    if codec in _APART:
        values = _decode_apart(memoryview(dataset.buffer.getvalue()), codec, dataset)
    elif is_colour(dataset) and is_native(dataset):
        values, said = _native_colour(dataset)
    else:
        values = _decode(dataset, codec)
    values = _luma(values) if values.ndim == 3 else values
    return values.view(values.dtype.str.replace("i", "u")), 1, said


def _decode(dataset: Dataset, codec: str) -> npt.NDArray[Any]:
    """With an index, pydicom ignores frames that the header does not count."""
    return pixel_array(
        dataset, index=0, decoding_plugin=codec, correct_unused_bits=False, view_only=True
    )


def _native_colour(dataset: Dataset) -> tuple[npt.NDArray[Any], list[str]]:
    """Reads colour by plane or by pixel, as the header says unless only the other way is gray."""
    values = _decode(dataset, "")
    if _is_gray(values):
        return values, []
    dataset.PlanarConfiguration = 1 - dataset.PlanarConfiguration
    other = _decode(dataset, "")
    if not _is_gray(other):
        return values, []
    said = f"PlanarConfiguration was taken as {dataset.PlanarConfiguration}: so the image is gray."
    return other, [said]


def _is_gray(values: npt.NDArray[Any]) -> bool:
    return bool((values == values[..., :1]).all())


def _luma(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Gray of colour values [rows, columns, 3]; those of more than 8 bits must be gray already."""
    if _is_gray(values):
        return np.ascontiguousarray(values[..., 0])
    if values.dtype != np.uint8:
        raise ImageUnsupported("The DICOM is in colour. Send a monochrome radiograph.")
    return np.asarray(Image.fromarray(values).convert("L"))


def allocated_bits(dataset: Dataset) -> int:
    """Returns the bits of a word: BitsAllocated, or those of a compressed frame that needs more."""
    allocated = count(dataset, "BitsAllocated") or 1
    if not _CODECS.get(_transfer_syntax(dataset)):
        return allocated
    *_, depth = _frame_header(_first_frame(dataset))
    return max(allocated, depth)


def is_decoded_apart(dataset: Dataset) -> bool:
    """Decides whether a process of its own decodes the pixels."""
    return _CODECS.get(_transfer_syntax(dataset)) in _APART


def is_native(dataset: Dataset) -> bool:
    """Decides whether the pixels are uncompressed."""
    return _transfer_syntax(dataset) in _NATIVE


def _transfer_syntax(dataset: Dataset) -> UID:
    """The declared syntax; a headless file declares none, and its own encoding decides."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        native = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = native
    syntax: UID = dataset.file_meta.TransferSyntaxUID
    return syntax


def _codec(syntax: UID, bits: int) -> str:
    """The plugin for a syntax; no plugin reads a JPEG of 12 bits."""
    if syntax not in _CODECS or (syntax == JPEGExtended12Bit and bits > 8):
        raise unsupported_syntax(syntax)
    return _CODECS[syntax]


def _first_frame(dataset: Dataset) -> bytes:
    """The compressed bytes; encapsulated pixels have no defined length (PS3.5 A.4)."""
    if not dataset["PixelData"].is_undefined_length:
        raise ValueError("the pixels are not encapsulated")
    frame: bytes = next(generate_frames(dataset.PixelData, number_of_frames=1))
    return frame


def _unpack_rle(dataset: Dataset) -> npt.NDArray[Any]:
    """Unpacks RLE pixels (PS3.5 G) as unsigned[samples, rows, columns].

    Segments come plane by plane, most significant byte first. Pillow unpacks as many bytes as it
    is asked for; pydicom would unpack all that the segments hold.
    """
    frame = memoryview(_first_frame(dataset))
    count, *offsets = struct.unpack_from("<16L", frame)
    bounds = [*offsets[:count], len(frame)]
    shape = int(dataset.SamplesPerPixel), int(dataset.Rows), int(dataset.Columns)
    deep = dataset.BitsAllocated // 8
    samples = np.empty((*shape, deep), np.uint8)
    planes = [samples[each, :, :, byte] for each in range(shape[0]) for byte in range(deep)[::-1]]
    for (start, end), plane in zip(pairwise(bounds), planes, strict=True):
        unpacked = Image.frombytes("L", (plane.size, 1), frame[start:end], "packbits", "L")
        plane[:] = np.asarray(unpacked).reshape(plane.shape)  # in one row: runs may cross rows
    return samples.view(f"<u{deep}")[..., 0]


def _store_native(dataset: Dataset, samples: npt.NDArray[Any]) -> None:
    """Replaces the pixels by uncompressed ones, plane by plane."""
    dataset.PixelData = samples.tobytes()
    dataset.PlanarConfiguration = 1
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _check_frame(dataset: Dataset, codec: str) -> list[str]:
    """Refuses a frame that is not of the size in the header, before a codec allocates memory.

    Also one that its codec does not read, and one that does not end as a frame must. Where its
    values need more bits than the header allocates, the header is corrected: pydicom would cut them
    off.
    """
    frame = _first_frame(dataset)
    *shape, depth = _frame_header(frame)
    if shape != [dataset.Rows, dataset.Columns, dataset.SamplesPerPixel]:
        raise ImageUndecodable(
            "The DICOM's compressed frame is damaged, or not of the size that the header's Rows, "
            "Columns and SamplesPerPixel declare. Export it uncompressed."
        )
    if codec == "pillow" and depth > 8:
        raise unsupported_syntax(JPEGExtended12Bit)
    if codec == "pyjpegls" and not frame.rstrip(b"\0").endswith(_END_OF_JPEG):
        raise ImageUndecodable(
            "The DICOM's compressed frame is truncated: its end marker is missing. Export it again."
        )
    if depth <= dataset.BitsAllocated:
        return []
    dataset.BitsAllocated = 16 if depth <= 16 else 32
    return [f"BitsAllocated was taken as {dataset.BitsAllocated}: the compressed frame needs it."]


def _frame_header(frame: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components and bits in the header of a JPEG, JPEG-LS or JPEG 2000 frame.

    JPEG 2000 keeps them in its SIZ segment (ITU-T T.800 A.5.1).
    """
    if frame.startswith(_JPEG):
        jpeg.check_work(frame)
        return *jpeg.shape(frame), jpeg.precision(frame)
    start = frame.index(_JPEG2000)
    right, bottom, left, top, components, depth = struct.unpack_from(">4I16xHB", frame, start + 8)
    return bottom - top, right - left, components, depth % 128 + 1


def _decode_apart(file: memoryview, codec: str, dataset: Dataset) -> npt.NDArray[Any]:
    """Decodes in another process, with the attributes that were completed since `file` was read.

    Raises MemoryError if the process had too little memory, or was killed, as a system that is
    short of memory does.
    """
    completed = {name: dataset.get(name) for name in COMPLETED if name in dataset}
    done = subprocess.run(  # noqa: S603 - our own file, by this interpreter
        [sys.executable, "-P", str(_PROCESS), codec, json.dumps(completed)],
        input=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_PROCESS_TIMEOUT_S,
        check=False,
    )
    if done.returncode in (errno.ENOMEM, -signal.SIGKILL):
        raise MemoryError
    done.check_returncode()
    values: npt.NDArray[Any] = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return values
