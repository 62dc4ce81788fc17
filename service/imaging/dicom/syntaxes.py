"""Names the codec of each transfer syntax (PS3.5 A.4). docs/dicom.md says why it was chosen."""

from typing import Literal

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
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

from service.imaging.dicom.header import unsupported_syntax

Codec = Literal["native", "rle", "jpeg", "jpeg-ls", "jpeg-2000", "htj2k", "jpeg-xl"]
_JPEG_SPECTRAL, _JPEG_PROGRESSIVE = UID("1.2.840.10008.1.2.4.53"), UID("1.2.840.10008.1.2.4.55")
"""DCT JPEG by spectral selection and by full progression, both retired."""
_JPEG_XL = tuple(UID(f"1.2.840.10008.1.2.4.{last}") for last in (110, 111, 112))
"""Lossless, recompressed JPEG and lossy (supplement 232); pydicom 3.0 has no names for them."""
_CODECS: dict[str, Codec] = {
    ImplicitVRLittleEndian: "native",
    ExplicitVRLittleEndian: "native",
    DeflatedExplicitVRLittleEndian: "native",
    ExplicitVRBigEndian: "native",
    RLELossless: "rle",
    JPEGBaseline8Bit: "jpeg",
    JPEGExtended12Bit: "jpeg",
    _JPEG_SPECTRAL: "jpeg",
    _JPEG_PROGRESSIVE: "jpeg",
    JPEGLossless: "jpeg",
    JPEGLosslessSV1: "jpeg",
    JPEGLSLossless: "jpeg-ls",
    JPEGLSNearLossless: "jpeg-ls",
    JPEG2000Lossless: "jpeg-2000",
    JPEG2000: "jpeg-2000",
    HTJ2KLossless: "htj2k",
    HTJ2KLosslessRPCL: "htj2k",
    HTJ2K: "htj2k",
    **dict.fromkeys(_JPEG_XL, "jpeg-xl"),
}
SYNTAXES = tuple(UID(syntax) for syntax in _CODECS)
"""Transfer syntaxes that are decoded."""
_APART = frozenset({"jpeg-ls", "jpeg-2000", "htj2k", "jpeg-xl"})
"""Codecs that run in decoder processes. A damaged frame keeps JPEG-LS's busy for minutes, JPEG
2000's holds the interpreter, and the other two are young."""


def transfer_syntax(dataset: Dataset) -> UID:
    """Returns the declared syntax; a headless file declares none, and its own encoding decides."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    syntax: UID = dataset.file_meta.TransferSyntaxUID
    return syntax


def codec(dataset: Dataset) -> Codec:
    """Returns the codec of the pixels. Raises ImageUnsupported for a syntax that none reads."""
    syntax = transfer_syntax(dataset)
    if syntax not in _CODECS:
        raise unsupported_syntax(syntax)
    return _CODECS[syntax]


def is_native(dataset: Dataset) -> bool:
    """Decides whether the pixels are uncompressed."""
    return _CODECS.get(transfer_syntax(dataset)) == "native"


def is_decoded_apart(dataset: Dataset) -> bool:
    """Decides whether a decoder process reads the pixels."""
    return _CODECS.get(transfer_syntax(dataset)) in _APART
