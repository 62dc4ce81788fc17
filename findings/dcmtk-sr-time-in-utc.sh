#!/usr/bin/env bash
# dcmtk's dsrdump cannot read a structured report with a time in UTC.
#
# Expected: a DATETIME item of "20260301120000+0000" is read: +0000 is the offset that DICOM gives
#   to UTC (PS3.5 6.2, DT).
# Happens: dcmtk calls it an invalid value, and refuses the whole report. The same report with the
#   offset +0100 or -0500, or without one, is read.
# Why it matters: a report that a server in UTC wrote, as most containers are, cannot be shown by
#   dcmtk's viewer of structured reports, nor by what is built on its class DSRDocument. In winter
#   that is every report of a British or Portuguese hospital.
# What we do: the time at which a draft was written is a text in it, not a DATETIME item.
#
# Needs Debian 12 (amd64) with current package lists (apt-get update); installs nothing there.
#
# Seen:
#   dcmtk: dsrdump v3.6.7 2022-04-22
#   20260301120000: read
#   20260301120000+0100: read
#   20260301120000-0500: read
#   20260301120000+0000: E: Reading content item DATETIME "1.1" (Invalid Value)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pydicom==3.0.2
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

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedSRStorage, ExplicitVRLittleEndian, generate_uid

DUMP = "debian/usr/bin/dsrdump"


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def item(relationship, kind, name):
    content = Dataset()
    content.RelationshipType, content.ValueType = relationship, kind
    content.ConceptNameCodeSequence = name
    return content


def report(moment):
    """A structured report of an invented patient, about a study of this moment."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedSRStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.StudyDate = dataset.ContentDate = "20260301"
    dataset.StudyTime = dataset.ContentTime = "120000"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.PatientName, dataset.PatientID = "Example^Patient", "EXAMPLE"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.Manufacturer = "SR", "Example"
    dataset.CompletionFlag, dataset.VerificationFlag = "PARTIAL", "UNVERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence = dataset.PerformedProcedureCodeSequence = []
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = code("18748-4", "LN", "Diagnostic imaging report")
    made = item("HAS OBS CONTEXT", "DATETIME", code("111060", "DCM", "Study Date"))
    made.DateTime = moment
    finding = item("CONTAINS", "TEXT", code("121071", "DCM", "Finding"))
    finding.TextValue = "No effusion."
    dataset.ContentSequence = [made, finding]
    return dataset


version = subprocess.run([DUMP, "--version"], capture_output=True, text=True)
print(version.stdout.splitlines()[0].strip("$ "))
read = {}
for offset in ("", "+0100", "-0500", "+0000"):
    moment = f"20260301120000{offset}"
    report(moment).save_as("report.dcm", enforce_file_format=True)
    done = subprocess.run([DUMP, "report.dcm"], capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    read[offset] = done.returncode == 0 and "No effusion." in done.stdout
    print(f"{moment}:", "read" if read[offset] else " ".join(errors))

expect(read[""] and read["+0100"] and read["-0500"], "the report cannot be read at other offsets")
expect(not read["+0000"], "a time in UTC is read")
PYTHON
