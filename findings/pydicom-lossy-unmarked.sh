#!/usr/bin/env bash
# pydicom's lossy compression gives an object that says nothing about it.
#
# Expected: an object compressed with loss is marked: LossyImageCompression 01, its ratio and
#   method, ImageType DERIVED and a reference to its source, as PS3.3 asks.
# Happens: compress() with a lossy transfer syntax changes pixels by as much as was allowed and
#   gives a new SOP Instance UID, but sets none of these; ImageType still says ORIGINAL.
# Why it matters: rules for reading compressed images rely on the marker. An archive then holds two
#   "originals", and a study of compression artefacts cannot tell them apart.
# What we do: nothing is compressed with loss in DICOM; renditions are JPEG files for people only.
#
# Seen:
#   pydicom 3.0.2
#   largest change of a pixel 5, new UID True, ImageType ['ORIGINAL', 'PRIMARY'], marks []
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 pyjpegls==1.5.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import pydicom
from pydicom.uid import JPEGLSNearLossless

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


MARKS = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "SourceImageSequence",
    "DerivationDescription",
)
stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
dataset = radiograph(stored)
uid = dataset.SOPInstanceUID
dataset.compress(JPEGLSNearLossless, jls_error=5, encoding_plugin="pyjpegls")
change = int(np.abs(dataset.pixel_array.astype(int) - stored).max())
marks = [mark for mark in MARKS if mark in dataset]
print("pydicom", pydicom.__version__)
print(
    f"largest change of a pixel {change}, new UID {dataset.SOPInstanceUID != uid},",
    f"ImageType {list(dataset.ImageType)}, marks {marks}",
)

expect(change == 5, "the loss is another one")
expect(dataset.SOPInstanceUID != uid, "the UID is kept")
expect(marks == [] and dataset.ImageType[0] == "ORIGINAL", "the loss is marked")
PYTHON
