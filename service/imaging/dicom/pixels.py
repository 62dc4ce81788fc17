"""Decompresses the pixels of a DICOM dataset into stored values (PS3.5 8.2, A.4)."""

import io
import struct
import subprocess
import sys
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
from service.imaging.dicom.header import unsupported_syntax

_CODECS = {
    **dict.fromkeys((ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian), ""),
    RLELossless: "",
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), "pillow"),
    **dict.fromkeys(
        (JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), "pylibjpeg"
    ),
    **dict.fromkeys((JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless), "gdcm"),
}
"""Transfer syntax → the pydicom plugin that decodes it; uncompressed pixels and RLE need none."""
_GDCM = Path(__file__).with_name("gdcm_process.py")
_GDCM_TIMEOUT_S = 60
_JPEG = b"\xff\xd8"
_JPEG2000 = b"\xff\x4f\xff\x51"


def stored_values(dataset: Dataset, file: bytes) -> npt.NDArray[Any]:
    """Returns the first frame's stored values as integers [rows, columns]; colour as luma.

    file: the bytes that `dataset` was read from, up to the end of its pixels.

    Raises ImageUnsupported for a transfer syntax that no codec reads and for colour of more than
    8 bits, ImageUndecodable for a frame that is not of the size in the header, and anything at
    all, from a codec, for damaged pixels.
    """
    syntax = _transfer_syntax(dataset)
    codec = _codec(syntax, int(dataset.BitsStored))
    if syntax == RLELossless:
        _unpack_rle(dataset)
    elif syntax.is_encapsulated:
        _check_frame_size(dataset)
    if codec == "gdcm":
        values = _decode_with_gdcm(file)
    else:  # with an index, pydicom ignores frames that the header does not count
        values = pixel_array(dataset, index=0, decoding_plugin=codec)
    if values.ndim == 2:
        return values
    if values.dtype != np.uint8:
        raise ImageUnsupported("The DICOM is in colour. Send a monochrome radiograph.")
    return np.asarray(Image.fromarray(values).convert("L"))


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


def _unpack_rle(dataset: Dataset) -> None:
    """Replaces RLE pixels by uncompressed ones (PS3.5 G).

    Segments come plane by plane, most significant byte first. Pillow unpacks as many bytes as it
    is asked for; pydicom would unpack all that the segments hold.
    """
    frame = _first_frame(dataset)
    count, *offsets = struct.unpack_from("<16L", frame)
    bounds = [*offsets[:count], len(frame)]
    size = int(dataset.Rows) * int(dataset.Columns)
    planes = [
        np.asarray(Image.frombytes("L", (size, 1), frame[start:end], "packbits", "L")).ravel()
        for start, end in pairwise(bounds)
    ]
    samples = np.stack(planes).reshape(dataset.SamplesPerPixel, dataset.BitsAllocated // 8, size)
    dataset.PixelData = samples[:, ::-1].transpose(0, 2, 1).tobytes()
    dataset.PlanarConfiguration = 1
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _check_frame_size(dataset: Dataset) -> None:
    """Refuses a frame that is not of the size in the header, before a codec allocates memory."""
    frame = _first_frame(dataset)
    if _frame_shape(frame) != (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel):
        raise ImageUndecodable(
            "The DICOM's compressed frame is damaged, or not of the size that its header declares. "
            "Export it uncompressed."
        )


def _frame_shape(frame: bytes) -> tuple[int, int, int]:
    """Rows, columns and components in the header of a JPEG, JPEG-LS or JPEG 2000 frame.

    JPEG 2000 keeps them in its SIZ segment (ITU-T T.800 A.5.1).
    """
    if frame.startswith(_JPEG):
        jpeg.check_work(frame)
        return jpeg.shape(frame)
    start = frame.index(_JPEG2000)
    right, bottom, left, top, components = struct.unpack_from(">4I16xH", frame, start + 8)
    return bottom - top, right - left, components


def _decode_with_gdcm(file: bytes) -> npt.NDArray[Any]:
    """Runs gdcm in its own process, because some damaged frames make it end its process."""
    done = subprocess.run(  # noqa: S603 - our own file, by this interpreter
        [sys.executable, "-P", str(_GDCM)],
        input=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_GDCM_TIMEOUT_S,
        check=True,
    )
    values: npt.NDArray[Any] = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return values
