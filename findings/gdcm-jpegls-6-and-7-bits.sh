#!/usr/bin/env bash
# GDCM refuses JPEG-LS of 6 and 7 bits and decodes every other depth.
#
# Expected: JPEG-LS allows 2 to 16 bits; a decoder takes all of them or documents which.
# Happens: through pydicom, gdcm decodes lossless JPEG-LS of 2 to 5 and 8 to 16 bits exactly, and
#   raises for 6 and 7. pyjpegls decodes all of them. pydicom asks gdcm first where both are
#   installed, and the other if that fails.
# Why it matters: some encoders declare the bits that are in use, as pydicom's does, others those
#   allocated. With gdcm alone, a study of the first kind cannot be read; with both it depends on
#   what else is installed.
# What we do: JPEG-LS is decoded by imagecodecs, which has the same library as pyjpegls.
#
# Seen:
#   pydicom 3.0.2 python-gdcm 3.2.6 pyjpegls 1.5.1
#   gdcm, decodes exactly: [2, 3, 4, 5, 8, 10, 12, 16]
#   pyjpegls, decodes exactly: [2, 3, 4, 5, 6, 7, 8, 10, 12, 16]
#   either, as pydicom chooses, decodes exactly: [2, 3, 4, 5, 6, 7, 8, 10, 12, 16]
#   pydicom asks in this order: ('gdcm', 'pyjpegls')
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 python-gdcm==3.2.6 pyjpegls==1.5.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


DEPTHS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)


def compressed(pixels, bits):
    """A dataset of that many bits stored in 8 or 16, in lossless JPEG-LS."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls")
    return dataset


def decodes(dataset, pixels, plugin=""):
    """Whether the plugin, or whichever pydicom chooses, gives back the pixels."""
    try:
        return np.array_equal(pixel_array(dataset, decoding_plugin=plugin), pixels)
    except RuntimeError:
        return False


print(*(f"{package} {version(package)}" for package in ("pydicom", "python-gdcm", "pyjpegls")))
exact = {"gdcm": [], "pyjpegls": [], "": []}
for bits in DEPTHS:
    values = np.random.default_rng(bits).integers(0, 2**bits, (32, 48))
    pixels = values.astype(np.uint8 if bits <= 8 else np.dtype("<u2"))
    dataset = compressed(pixels, bits)
    for plugin in exact:
        if decodes(dataset, pixels, plugin):
            exact[plugin].append(bits)
for plugin, depths in exact.items():
    print(f"{plugin or 'either, as pydicom chooses'}, decodes exactly: {depths}")
print("pydicom asks in this order:", get_decoder(JPEGLSLossless).available_plugins)

expect(get_decoder(JPEGLSLossless).available_plugins[0] == "gdcm", "gdcm is not asked first")
expect(exact[""] == list(DEPTHS), "pydicom does not fall back on pyjpegls")
expect(exact["pyjpegls"] == list(DEPTHS), "pyjpegls does not decode all depths")
expect(exact["gdcm"] == [b for b in DEPTHS if b not in (6, 7)], "gdcm refuses other depths")
PYTHON
