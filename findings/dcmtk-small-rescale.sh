#!/usr/bin/env bash
# dcmtk shows a radiograph with few grays, or none, where RescaleSlope is small.
#
# Expected: a slope is a decimal number. Shown from the least to the greatest value, an image of
#   0…4095 is the same picture with any slope over 0.
# Happens: dcmj2pnm rounds rescaled values to whole numbers before it shows them. With a slope of 1
#   the picture has 256 gray levels, with 0.01 it has 41, with 0.001 five, and with 0.0002 one. The
#   exit code is 0 and nothing warns.
# Why it matters: some devices store exposure or optical density, with slopes such as 0.001. Pictures
#   of such an archive made by dcmtk have few grays, and a model that learns from them loses what the
#   detector measured.
# What we do: rescaled values stay decimal numbers; the comparison with dcmtk leaves the slope out.
#
# Needs Debian 12 (amd64) with current package lists (apt-get update); installs nothing there.
#
# Seen:
#   dcmtk: dcmj2pnm v3.6.7 2022-04-22
#   RescaleSlope 1: 256 gray levels
#   RescaleSlope 0.01: 41 gray levels
#   RescaleSlope 0.001: 5 gray levels
#   RescaleSlope 0.0002: 1 gray levels
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 pillow==13.0.0 numpy==2.4.6
cd "$work"
for package in dcmtk libdcmtk17; do
  apt-get download --quiet --quiet --option APT::Sandbox::User=root "$package=3.6.7-9~deb12u4"
done
for package in libicu72 libnsl2 libtirpc3 libwrap0 libxml2 libjpeg62-turbo libpng16-16 libtiff6 \
  libdeflate0 libjbig0 liblerc4 libwebp7 libopenjp2-7; do
  apt-get download --quiet --quiet --option APT::Sandbox::User=root "$package"
done
for file in ./*.deb; do dpkg-deb --extract "$file" debian; done
export LD_LIBRARY_PATH="$PWD/debian/usr/lib/x86_64-linux-gnu"
export DCMDICTPATH="$PWD/debian/usr/share/libdcmtk17/dicom.dic"
"$work/venv/bin/python" - <<'PYTHON'
import subprocess
import sys

import numpy as np
from PIL import Image

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

DCMJ2PNM = "debian/usr/bin/dcmj2pnm"


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def radiograph(slope):
    """Values of 0…4095, and a slope."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality, dataset.Rows, dataset.Columns = "CR", 64, 64
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, slope
    dataset.PixelData = np.arange(4096, dtype="<u2").tobytes()
    return dataset


def gray_levels():
    """How many gray levels dcmj2pnm shows from the least to the greatest value."""
    command = [DCMJ2PNM, "+Wm", "image.dcm", "image.pgm"]
    done = subprocess.run(command, capture_output=True, text=True)
    expect(done.returncode == 0, "dcmj2pnm fails")
    expect(not done.stderr, "dcmj2pnm warns")
    return len(np.unique(np.asarray(Image.open("image.pgm"))))


version = subprocess.run([DCMJ2PNM, "--version"], capture_output=True, text=True).stdout
print("dcmtk:", version.split("$")[1].removeprefix("dcmtk: ").strip())
seen = {}
for slope in (1, 0.01, 0.001, 0.0002):
    radiograph(slope).save_as("image.dcm", enforce_file_format=True)
    seen[slope] = gray_levels()
    print(f"RescaleSlope {slope}: {seen[slope]} gray levels")
expect(seen[1] == 256, "a slope of 1 shows fewer than 256 gray levels")
expect(seen[0.001] < 10, "a slope of 0.001 shows more gray levels")
PYTHON
