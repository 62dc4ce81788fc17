#!/usr/bin/env bash
# pydicom clears overlays that are stored in the unused bits of a radiograph's pixels.
#
# Expected: annotations that an old object keeps in bit 15 can be read, or a warning says they are
#   lost.
# Happens: pixel_array masks all bits above BitsStored, without a warning; overlay_array says that
#   OverlayData is missing.
# Why it matters: old objects may keep annotations this way (retired in the standard, still in
#   archives). What a radiologist saw then is not in the array.
# What we do: pixels only; overlays are no part of what the model sees, and reports do not mention
#   them.
#
# Seen:
#   pydicom 3.0.2
#   marked pixels: in PixelData 64, in pixel_array 0, warnings 0
#   overlay_array: Unable to convert the overlay data as the following required elements are missing
#     from the dataset: OverlayData
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import pydicom

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


def with_overlay(values, marked):
    """The radiograph with an overlay embedded in bit 15, as older editions of PS3.3 describe."""
    dataset = radiograph(values | np.where(marked, 0x8000, 0).astype(np.uint16))
    for element, vr, value in (
        (0x0010, "US", dataset.Rows),
        (0x0011, "US", dataset.Columns),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 16),
        (0x0102, "US", 15),
    ):
        dataset.add_new((0x6000, element), vr, value)
    return dataset


values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
marked = np.eye(64, dtype=bool)
dataset = with_overlay(values, marked)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    pixels = dataset.pixel_array
raw = np.frombuffer(dataset.PixelData, "<u2").reshape(64, 64)
print("pydicom", pydicom.__version__)
print(
    f"marked pixels: in PixelData {(raw >> 15).sum()}, in pixel_array {(pixels >> 15).sum()},",
    f"warnings {len(warned)}",
)
try:
    dataset.overlay_array(0x6000)
    message = ""
except AttributeError as error:
    message = str(error)
print("overlay_array:", message)

expect((raw >> 15).sum() == 64, "the object holds no overlay")
expect(np.array_equal(pixels, values), "pixel_array keeps the bits above BitsStored")
expect(not warned, "pydicom warns of the overlay")
expect("OverlayData" in message, "overlay_array reads embedded overlays")
PYTHON
