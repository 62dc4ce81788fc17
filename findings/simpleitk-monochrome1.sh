#!/usr/bin/env bash
# SimpleITK inverts a MONOCHROME1 radiograph and leaves its tag as it was.
#
# Expected: an image reader either gives stored values, or inverts and says MONOCHROME2.
# Happens: ReadImage returns 4095 less each value of a 12-bit image, and its metadata still says
#   MONOCHROME1.
# Why it matters: code that reads the tag and inverts, as the standard asks, inverts twice: bone
#   becomes black, and a model trained so learns negatives of one vendor's detectors.
# What we do: radiographs are read by pydicom and inverted in one place (service/imaging/dicom.py).
#
# Seen:
#   SimpleITK 2.5.7
#   MONOCHROME2: stored [0 0 1], read [0 0 1], tag MONOCHROME2
#   MONOCHROME1: stored [0 0 1], read [4095 4095 4094], tag MONOCHROME1
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import SimpleITK

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def radiograph(pixels, photometric="MONOCHROME2"):
    """A 12-bit chest radiograph of an invented patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.ImageType = "DX", ["ORIGINAL", "PRIMARY"]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    return dataset


def read(photometric):
    radiograph(stored, photometric).save_as(f"{photometric}.dcm", enforce_file_format=True)
    image = SimpleITK.ReadImage(f"{photometric}.dcm")
    return SimpleITK.GetArrayFromImage(image)[0], image.GetMetaData("0028|0004").strip()


stored = np.arange(4096, dtype=np.uint16).reshape(64, 64) // 2  # no pixel has the greatest value
print("SimpleITK", SimpleITK.Version.VersionString())
for photometric in ("MONOCHROME2", "MONOCHROME1"):
    pixels, tag = read(photometric)
    print(f"{photometric}: stored {stored[0, :3]}, read {pixels[0, :3]}, tag {tag}")
    inverted = photometric == "MONOCHROME1"
    expect(tag == photometric, f"the tag of {photometric} is rewritten")
    expected = 4095 - stored if inverted else stored
    expect(np.array_equal(pixels, expected), f"{photometric} is read in another way")
PYTHON
