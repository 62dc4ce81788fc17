#!/usr/bin/env bash
# Orthanc 1.10 takes HTJ2K by HTTP, and sends it to nobody over DIMSE.
#
# Expected: an object that an archive has taken can be fetched from it by C-GET in the transfer
#   syntax that it is stored in, as a JPEG 2000 object can.
# Happens: Orthanc takes an HTJ2K object by its REST API, lists it, and gives it back by REST. For
#   C-GET it accepts no presentation context in HTJ2K; where the caller offers other syntaxes too, it
#   ends with status A702 ("unable to perform sub-operations"), and nothing comes.
# Why it matters: HTJ2K is new in DICOM (supplement 235) and archives begin to convert to it. A pull
#   by DIMSE misses such studies; the same pull by DICOMweb has them.
# What we do: the study is rejected with the status in the reason, and counted; pull by DICOMweb.
#
# Needs Debian 12 (amd64) with current package lists (apt-get update); installs nothing there.
#
# Seen:
#   Orthanc 1.10.1
#   JPEG 2000 Image Compression (Lossless Only): by REST the same,
#     C-GET accepted, 0000, came: 1
#   High-Throughput JPEG 2000 Image Compression (Lossless Only): by REST the same,
#     C-GET refused, A702, came: 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pynetdicom==3.0.4 pydicom==3.0.2 imagecodecs==2026.3.6 numpy==2.4.6
cd "$work"
apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
  --no-enhances orthanc orthanc-dicomweb | grep -E '^(lib|orthanc|dcmtk)' | sort --unique |
  grep -vxE 'libc6|libgcc-s1' >packages
xargs apt-get download --quiet --quiet --option APT::Sandbox::User=root <packages
for file in ./*.deb; do dpkg-deb --extract "$file" debian; done
export LD_LIBRARY_PATH="$PWD/debian/usr/lib/x86_64-linux-gnu:$PWD/debian/lib/x86_64-linux-gnu"
export DCMDICTPATH="$PWD/debian/usr/share/libdcmtk17/dicom.dic"
"$work/venv/bin/python" - <<'PYTHON'
import io
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import imagecodecs
import numpy as np
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    generate_uid,
)


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(**settings):
    """Starts Orthanc on a port of this machine; returns its process once it answers."""
    Path("orthanc.json").write_text(json.dumps(settings | {
        "StorageDirectory": "db", "IndexDirectory": "db", "HttpPort": PORT,
        "AuthenticationEnabled": False, "RemoteAccessAllowed": False,
    }))
    with open("orthanc.log", "wb") as log:
        process = subprocess.Popen(
            ["debian/usr/sbin/Orthanc", "orthanc.json"], stdout=log, stderr=log
        )
    for _ in range(300):
        with suppress(OSError), urlopen(f"{URL}/system") as answer:
            print("Orthanc", json.load(answer)["Version"])
            return process
        time.sleep(0.1)
    process.kill()
    sys.exit(Path("orthanc.log").read_text())


def radiograph(syntax, pixels):
    """A 12-bit radiograph of an invented patient, in a compressed transfer syntax."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "DOE^JANE", "EXAMPLE", "DX"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    if syntax == HTJ2KLossless:
        frame = imagecodecs.htj2k_encode(pixels, reversible=True)
    else:
        frame = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k")
    dataset.PixelData = encapsulate([frame])
    return dataset


def got(dataset):
    """Returns whether C-GET accepts its syntax, the final status, and how many objects came."""
    arrived = []
    syntax = dataset.file_meta.TransferSyntaxUID
    caller = AE(ae_title="EXAMPLE")
    caller.add_requested_context(GET)
    for each in (syntax, ExplicitVRLittleEndian):
        caller.add_requested_context(dataset.SOPClassUID, each)
    association = caller.associate(
        "127.0.0.1", DICOM_PORT, ae_title="ORTHANC",
        ext_neg=[build_role(dataset.SOPClassUID, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, lambda event: (arrived.append(event), 0)[1])],
    )
    accepted = [each.transfer_syntax[0] for each in association.accepted_contexts]
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID, asked.SeriesInstanceUID, asked.SOPInstanceUID = (
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    )
    statuses = [status.Status for status, _ in association.send_c_get(asked, GET)]
    association.release()
    return "accepted" if syntax in accepted else "refused", f"{statuses[-1]:04X}", len(arrived)


PORT, DICOM_PORT = free_port(), free_port()
URL = f"http://127.0.0.1:{PORT}"
server = started(
    DicomPort=DICOM_PORT, DicomAet="ORTHANC", DicomAlwaysAllowGet=True, DicomCheckCalledAet=False
)
pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
seen = {}
try:
    for syntax in (JPEG2000Lossless, HTJ2KLossless):
        dataset, file = radiograph(syntax, pixels), io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        with urlopen(f"{URL}/instances", data=file.getvalue()) as answer:
            stored = json.load(answer)["ID"]
        with urlopen(f"{URL}/instances/{stored}/file") as answer:
            same = answer.read() == file.getvalue()
        context, status, came = seen[syntax] = got(dataset)
        by_rest = "the same" if same else "another file"
        print(f"{syntax.name}: by REST {by_rest}, C-GET {context}, {status}, came: {came}")
finally:
    server.terminate()
    server.wait()

expect(seen[JPEG2000Lossless] == ("accepted", "0000", 1), "JPEG 2000 does not come by C-GET")
expect(seen[HTJ2KLossless] == ("refused", "A702", 0), "HTJ2K comes by C-GET, or fails in another way")
PYTHON
