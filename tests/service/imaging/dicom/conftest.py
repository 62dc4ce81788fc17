import struct
from pathlib import Path

import gdcm
import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from service.imaging.decode import ImageLimits, decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

LIMITS = ImageLimits()


def shown(dataset: Dataset, **arguments) -> np.ndarray:
    """Display values 0…1."""
    return decode(dicom_bytes(dataset, **arguments), LIMITS).pixels / 65535


def close(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, atol=1e-4)


def lut(entries: int, first: int, bits: int, data: bytes) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [entries, first, bits]
    item.LUTData = data
    return Sequence([item])


def element(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    """One element in explicit VR little endian with a length of 32 bits (PS3.5 7.1.2)."""
    length = len(value) if length is None else length
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length) + value


def item(value: bytes = b"") -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def sequence(tag: int, items: bytes) -> bytes:
    """Of undefined length (PS3.5 7.5.1)."""
    return element(tag, b"SQ", items + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)


def compressed_by_gdcm(syntax: int, folder: Path) -> bytes:
    path = folder / "radiograph.dcm"
    path.write_bytes(dicom_bytes(dicom_dataset(BitsStored=12, HighBit=11)))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path.read_bytes()


def chest(top: int, dtype: type = np.uint16) -> np.ndarray:
    """A smooth radiograph from 0 to `top`, bright in the middle, [64, 48]."""
    y, x = np.mgrid[0:64, 0:48]
    shape = np.exp(-(((x - 24) / 12) ** 2)) + 0.3 * y / 64 + 0.05 * np.sin(y / 5)
    shape = (shape - shape.min()) / np.ptp(shape)
    return np.rint(shape * top).astype(dtype)


def corrections(dataset: Dataset, right: np.ndarray) -> str:
    """What the answer says was corrected, of an image that must be shown as `right` (0…1)."""
    with disable_value_validation():
        data = dicom_bytes(dataset)
    radiograph = decode(data, LIMITS)
    np.testing.assert_allclose(radiograph.pixels / 65535, right, atol=5e-3)
    return " ".join(radiograph.corrections)
