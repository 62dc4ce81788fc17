"""Compresses and decompresses DICOM files with toolkits that the service does not use."""

import io
import shutil
import subprocess
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.pixels.utils import pixel_array

PLUGINS = {
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
"""Lossy transfer syntax → the pydicom plugin that decodes it in these tests; gdcm does the rest."""


def by_dcmtk(data: bytes, folder: Path, program: str, *options: str) -> bytes:
    """Returns the file as a program of dcmtk writes it; skips the test where it is missing."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program} of dcmtk")
    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(data)
    subprocess.run([program, *options, before, after], check=True, capture_output=True)
    return after.read_bytes()


def by_gdcm(data: bytes, folder: Path, syntax: int) -> bytes:
    """Returns the file as gdcm writes it in a `gdcm.TransferSyntax`."""
    path = folder / "gdcm.dcm"
    path.write_bytes(data)
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


def stored_values(data: bytes, folder: Path) -> np.ndarray:
    """Returns the values of a compressed file as another decoder than the service's reads them."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    plugin = PLUGINS.get(dataset.file_meta.TransferSyntaxUID)
    if plugin is None:
        native = by_gdcm(data, folder, gdcm.TransferSyntax.ExplicitVRLittleEndian)
        return pydicom.dcmread(io.BytesIO(native)).pixel_array
    return pixel_array(dataset, decoding_plugin=plugin)
