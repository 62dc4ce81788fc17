#!/usr/bin/env bash
# Orthanc's DICOMweb search does not decode percent-encoded values.
#
# Expected: /studies?StudyDescription=Chest%20AP finds the study that is described as "Chest AP":
#   a space must be percent-encoded in a URL, and any other character may be (RFC 3986 2.1).
# Happens: it finds nothing, and answers 200 with an empty list. "+" in place of the space finds
#   nothing either. A wildcard in place of each encoded character does: Chest?AP.
# Why it matters: HTTP clients encode by themselves. A search by description, by patient's name
#   (DOE%5EJANE) or by accession number says that there is nothing, without an error.
# What we do: each character that must be encoded is asked for as "?", which stands for any one
#   character, and what comes back is compared here.
#
# Needs Debian 12 (amd64) with current package lists (apt-get update); installs nothing there.
#
# Seen:
#   Orthanc 1.10.1
#   DICOMweb plugin 1.7+dfsg-6
#   StudyDescription=Chest%20AP: 0 found
#   StudyDescription=Chest+AP: 0 found
#   StudyDescription=Chest?AP: 1 found
#   StudyDescription=Chest*: 1 found
#   StudyDescription=Chest%2A: 0 found
#   PatientName=DOE%5EJANE: 0 found
#   PatientName=DOE?JANE: 1 found
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pydicom==3.0.2
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
from urllib.request import Request, urlopen

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


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


def study():
    """A study of one object, of an invented patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID = "DOE^JANE", "EXAMPLE"
    dataset.StudyDescription, dataset.Modality = "Chest AP", "OT"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def found(query):
    """Returns how many studies a query finds."""
    asked = Request(f"{URL}/dicom-web/studies?{query}", headers={"Accept": "application/json"})
    with urlopen(asked) as answer:
        number = len(json.load(answer))
    print(f"{query}: {number} found")
    return number


PORT = free_port()
URL = f"http://127.0.0.1:{PORT}"
plugin = next(Path("debian/usr/lib/orthanc").glob("libOrthancDicomWeb.so*"))
server = started(Plugins=[str(plugin.resolve())], DicomServerEnabled=False)
try:
    package = next(Path().glob("orthanc-dicomweb_*")).name
    print("DICOMweb plugin", package.split("_")[1].partition("+b")[0])
    urlopen(f"{URL}/instances", data=study()).close()
    by_escape = [found("StudyDescription=Chest%20AP"), found("StudyDescription=Chest+AP")]
    by_wildcard = [found("StudyDescription=Chest?AP"), found("StudyDescription=Chest*")]
    by_escape += [found("StudyDescription=Chest%2A"), found("PatientName=DOE%5EJANE")]
    by_wildcard += [found("PatientName=DOE?JANE")]
finally:
    server.terminate()
    server.wait()

expect(by_wildcard == [1, 1, 1], "the study is not found at all")
expect(not any(by_escape), "an encoded value is found")
PYTHON
