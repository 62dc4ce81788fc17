#!/usr/bin/env bash
# dcmtk's dcmsend exits with 0 although it has sent nothing.
#
# Expected: a sender that could not send a study says so by its exit code.
# Happens: where the receiver accepts none of a file's transfer syntaxes, dcmsend prints errors,
#   counts "NOT sent" in its summary, and exits with 0. storescu exits with 1 for the same file.
# Why it matters: scripts that export studies check the exit code. A JPEG 2000 study sent to a
#   receiver of uncompressed images alone counts as delivered, and the original may be deleted.
# What we do: drafts are sent by our own code, which reads the status of each. With dcmsend, check its
#   summary (+crf FILE) or ask the receiver.
#
# Needs Debian 12 (amd64) with current package lists (apt-get update); installs nothing there.
#
# Seen:
#   dcmtk: dcmsend v3.6.7 2022-04-22
#   dcmsend plain.dcm: exit code 0, arrived 1
#   storescu plain.dcm: exit code 0, arrived 1
#   dcmsend compressed.dcm: exit code 0, arrived 0
#   I: - NOT sent to the peer   : 1
#   storescu compressed.dcm: exit code 1, arrived 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pynetdicom==3.0.4 pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0 numpy==2.4.6
cd "$work"
for package in dcmtk libdcmtk17; do
  apt-get download --quiet --quiet --option APT::Sandbox::User=root "$package=3.6.7-9~deb12u4"
done
for package in libicu72 libnsl2 libtirpc3 libwrap0 libxml2; do
  apt-get download --quiet --quiet --option APT::Sandbox::User=root "$package"
done
for file in ./*.deb; do dpkg-deb --extract "$file" debian; done
export LD_LIBRARY_PATH="$PWD/debian/usr/lib/x86_64-linux-gnu"
export DCMDICTPATH="$PWD/debian/usr/share/libdcmtk17/dicom.dic"
"$work/venv/bin/python" - <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import numpy as np
from pydicom.uid import JPEG2000
from pynetdicom import AE, evt

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


def send(program, path):
    """Returns the program's exit code, how many objects arrived, and what it printed."""
    arrived = []
    receiver = AE()  # takes uncompressed images alone
    receiver.add_supported_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_C_STORE, lambda event: (arrived.append(event), 0)[1])]
    server = receiver.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    command = [f"debian/usr/bin/{program}", "-v", "127.0.0.1", str(server.server_address[1]), path]
    done = subprocess.run(command, capture_output=True, text=True)
    server.shutdown()
    return done.returncode, len(arrived), done.stdout + done.stderr


pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
dataset = radiograph(pixels)
dataset.save_as("plain.dcm", enforce_file_format=True)
dataset.compress(JPEG2000, j2k_cr=[10], encoding_plugin="pylibjpeg")
dataset.save_as("compressed.dcm", enforce_file_format=True)

version = subprocess.run(["debian/usr/bin/dcmsend", "--version"], capture_output=True, text=True)
print(version.stdout.splitlines()[0].strip("$ "))
seen = {}
for path in ("plain.dcm", "compressed.dcm"):
    for program in ("dcmsend", "storescu"):
        code, arrived, printed = send(program, path)
        seen[program, path] = code, arrived
        print(f"{program} {path}: exit code {code}, arrived {arrived}")
        if (program, path) == ("dcmsend", "compressed.dcm"):
            print(*(line for line in printed.splitlines() if "NOT sent" in line))

expect(seen["dcmsend", "plain.dcm"] == seen["storescu", "plain.dcm"] == (0, 1), "nothing is sent")
expect(seen["dcmsend", "compressed.dcm"] == (0, 0), "dcmsend says that it failed, or sends")
expect(seen["storescu", "compressed.dcm"] == (1, 0), "storescu says success, or sends")
PYTHON
