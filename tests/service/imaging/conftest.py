"""The smallest real files: pictures by Pillow, DICOM objects by pydicom."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

SIDE = 40


def ramp(dtype: type = np.uint8, top: int = 255) -> np.ndarray:
    """Rows × columns of values from 0 to `top`."""
    return np.linspace(0, top, SIDE * (SIDE + 8)).reshape(SIDE, SIDE + 8).round().astype(dtype)


def picture(image: Image.Image, format: str, **arguments: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **arguments)
    return file.getvalue()


def dicom_dataset(pixels: np.ndarray | None = None, **elements: object) -> Dataset:
    pixels = ramp(np.uint16, 1000) if pixels is None else pixels
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "CR"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def dicom_bytes(
    dataset: Dataset, syntax: UID = ExplicitVRLittleEndian, *, headless: bool = False
) -> bytes:
    file = io.BytesIO()
    if headless:
        dataset.save_as(
            file, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian
        )
        return file.getvalue()
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_header(width: int, height: int, *, bits: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
