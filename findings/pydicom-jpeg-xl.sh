#!/usr/bin/env bash
# pydicom reads a file in JPEG XL and cannot write the same file again.
#
# Expected: DICOM has three transfer syntaxes for JPEG XL since 2024 (supplement 232); a library
#   that does not decode them still copies such a file, as it copies other syntaxes it cannot decode.
# Happens: dcmread returns the dataset, with the header and the compressed pixels. dcmwrite of that
#   dataset, unchanged or with implicit_vr and little_endian given, raises ValueError: the UID "is
#   not a valid transfer syntax". The UID has no name either.
# Why it matters: scripts that de-identify or route an archive read, change one element and write.
#   They stop at the first JPEG XL object.
# What we do: we write no DICOM with pixels; our tests change the UID in the bytes of the file.
#
# Seen:
#   pydicom 3.0.2 imagecodecs 2026.3.6
#   1.2.840.10008.1.2.4.110 (no name): read 48 rows, 104 bytes of pixels; write: ValueError
#   1.2.840.10008.1.2.4.111 (no name): read 48 rows, 104 bytes of pixels; write: ValueError
#   1.2.840.10008.1.2.4.112 (no name): read 48 rows, 104 bytes of pixels; write: ValueError
#   1.2.840.10008.1.2.4.201 (High-Throughput JPEG 2000 Image Compression (Lossless Only)): written
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 imagecodecs==2026.3.6 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import io
import sys
from importlib.metadata import version

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, HTJ2KLossless


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def radiograph():
    """The bytes of a file whose pixels are lossless JPEG XL, marked as HTJ2K."""
    pixels = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = encapsulate([imagecodecs.jpegxl_encode(pixels, lossless=True)])
    dataset["PixelData"].VR = "OB"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def marked(data, syntax):
    """The same file with another transfer syntax of as many bytes."""
    old = HTJ2KLossless.encode() + b"\0" * (len(HTJ2KLossless) % 2)
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    expect(len(old) == len(new) and data.count(old) == 1, "the file meta is written otherwise")
    return data.replace(old, new)


def written(dataset):
    """How writing it ends."""
    outcomes = set()
    for encoding in ({}, {"implicit_vr": False, "little_endian": True}):
        try:
            pydicom.dcmwrite(io.BytesIO(), dataset, **encoding)
            outcomes.add("written")
        except ValueError:
            outcomes.add("ValueError")
    return " or ".join(sorted(outcomes))


print(*(f"{package} {version(package)}" for package in ("pydicom", "imagecodecs")))
data = radiograph()
for last in (110, 111, 112):
    syntax = UID(f"1.2.840.10008.1.2.4.{last}")
    dataset = pydicom.dcmread(io.BytesIO(marked(data, syntax)))
    outcome = written(dataset)
    print(
        f"{syntax} (no name): read {dataset.Rows} rows, {len(dataset.PixelData)} bytes of pixels;",
        f"write: {outcome}",
    )
    expect(syntax.name == syntax, "the syntax has a name")
    expect(dataset.Rows == 48, "the header is not read")
    expect(outcome == "ValueError", "the file can be written")
outcome = written(pydicom.dcmread(io.BytesIO(data)))
print(f"{HTJ2KLossless} ({HTJ2KLossless.name}): {outcome}")
expect(outcome == "written", "HTJ2K cannot be written")
PYTHON
