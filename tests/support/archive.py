"""Makes one radiograph's DICOM file in every transfer syntax that a chest archive holds.

The pixels are compressed by imagecodecs, RLE and deflate by pydicom. Where another toolkit must
have made a file, the test says so: `tests.service.imaging.dicom.conftest.compressed_by_gdcm`.
"""

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

JPEG_XL_LOSSLESS, JPEG_XL_FROM_JPEG, JPEG_XL = (
    uid.UID(f"1.2.840.10008.1.2.4.{last}") for last in (110, 111, 112)
)
"""The transfer syntaxes of supplement 232, which pydicom 3.0 does not name."""
JPEG_XLS = (JPEG_XL_LOSSLESS, JPEG_XL_FROM_JPEG, JPEG_XL)
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)

Pixels = np.ndarray
Encode = Callable[[Pixels, int], bytes]
"""Pixels and bits stored → one compressed frame."""


def _lossless_jpeg(pixels: Pixels, bits: int) -> bytes:
    """ITU-T T.81 process 14 with predictor 1, which both syntaxes of lossless JPEG allow."""
    return imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits)


def _dct_jpeg(pixels: Pixels, bits: int) -> bytes:
    """Extended DCT (process 4) of 12 bits, or baseline of 8."""
    return imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=12 if bits > 8 else 8)


def _jpeg2000(pixels: Pixels, bits: int, *, lossy: bool = False) -> bytes:
    level = {"level": 50} if lossy else {}
    return imagecodecs.jpeg2k_encode(
        pixels, codecformat="J2K", reversible=not lossy, bitspersample=bits, **level
    )


def _htj2k(pixels: Pixels, bits: int, *, lossy: bool = False) -> bytes:
    """In the order RPCL, which OpenJPH takes by itself.

    imagecodecs codes all bits of a type. So unsigned values are moved down by half their range, as
    JPEG 2000 does before it codes them (ITU-T T.800 G.1), and the number of bits is set afterwards.
    The steps of lossy coding are shares of the range, so its values fill that of the type.
    """
    signed = pixels.dtype.kind == "i"
    moved = pixels if signed else pixels.astype(np.int32) - 2 ** (bits - 1)
    kind = np.int8 if bits <= 8 else np.int16
    if lossy:
        moved = moved.astype(np.int32) << (8 * np.dtype(kind).itemsize - bits)
    frame = bytearray(imagecodecs.htj2k_encode(moved.astype(kind), reversible=not lossy))
    for sample in range(pixels.shape[2] if pixels.ndim == 3 else 1):
        frame[42 + 3 * sample] = bits - 1 + 128 * signed
    return bytes(frame)


ENCODERS: dict[uid.UID, Encode] = {
    uid.JPEGBaseline8Bit: _dct_jpeg,
    uid.JPEGExtended12Bit: _dct_jpeg,
    uid.JPEGLossless: _lossless_jpeg,
    uid.JPEGLosslessSV1: _lossless_jpeg,
    uid.JPEGLSLossless: lambda pixels, _: imagecodecs.jpegls_encode(pixels),
    uid.JPEGLSNearLossless: lambda pixels, _: imagecodecs.jpegls_encode(pixels, level=2),
    uid.JPEG2000Lossless: _jpeg2000,
    uid.JPEG2000: lambda pixels, bits: _jpeg2000(pixels, bits, lossy=True),
    uid.HTJ2KLossless: _htj2k,
    uid.HTJ2KLosslessRPCL: _htj2k,
    uid.HTJ2K: lambda pixels, bits: _htj2k(pixels, bits, lossy=True),
    JPEG_XL_LOSSLESS: lambda pixels, bits: imagecodecs.jpegxl_encode(
        pixels, lossless=True, effort=3, bitspersample=bits
    ),
    JPEG_XL_FROM_JPEG: lambda pixels, bits: imagecodecs.jpegxl_encode_jpeg(_dct_jpeg(pixels, bits)),
    JPEG_XL: lambda pixels, bits: imagecodecs.jpegxl_encode(
        pixels, distance=1.0, effort=3, bitspersample=bits
    ),
}
"""Transfer syntax of a compressed frame → how it is made."""
SYNTAXES = (*NATIVE, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, *ENCODERS)
LOSSY = frozenset(
    {
        uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000,
        uid.HTJ2K, JPEG_XL_FROM_JPEG, JPEG_XL,
    }
)  # fmt: skip


def archived(syntax: uid.UID, pixels: Pixels, bits: int = 12, **elements: object) -> bytes:
    """Returns the file of a radiograph in a transfer syntax.

    pixels: [rows, columns], uint8 or uint16 (some syntaxes also take signed ones). bits: stored.
    elements: of the dataset. Baseline JPEG, and JPEG XL made from it,
    keep the highest eight bits.
    """
    if syntax in {uid.JPEGBaseline8Bit, JPEG_XL_FROM_JPEG} and bits > 8:
        pixels, bits = (pixels >> (bits - 8)).astype(np.uint8), 8
    dataset = dicom_dataset(pixels, **{"BitsStored": bits, "HighBit": bits - 1, **elements})
    if syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
        dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
        return dicom_bytes(dataset, syntax)
    if syntax == uid.RLELossless:
        dicom_bytes(dataset)
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax in ENCODERS:
        return enclosed(syntax, dataset, encapsulate([ENCODERS[syntax](pixels, bits)]))
    return dicom_bytes(dataset, syntax)


def enclosed(syntax: uid.UID, dataset: Dataset, value: bytes) -> bytes:
    """Returns the file of a dataset with these encapsulated pixels (PS3.5 A.4)."""
    dataset.PixelData = value
    dataset["PixelData"].VR = "OB"
    if syntax in JPEG_XLS:
        return with_syntax(dicom_bytes(dataset, uid.JPEG2000), syntax)
    return dicom_bytes(dataset, syntax)


def with_syntax(data: bytes, syntax: uid.UID) -> bytes:
    """Writes another transfer syntax into the file meta (PS3.10 7.1), as pydicom knows it not."""
    start = data.index(b"\x02\x00\x10\x00UI")
    (length,) = struct.unpack_from("<H", data, start + 6)
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    (group,) = struct.unpack_from("<L", data, 140)
    return (
        data[:140] + struct.pack("<L", group + len(value) - length) + data[144 : start + 6]
        + struct.pack("<H", len(value)) + value + data[start + 8 + length :]
    )  # fmt: skip
