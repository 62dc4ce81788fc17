#!/usr/bin/env bash
# dicom-anonymizer makes structured reports unreadable.
#
# Expected: de-identifying a report (SR) removes who it is about and keeps a readable report.
# Happens: every item's ValueType inside the content becomes the word ANONYMIZED, which no reader
#   knows: highdicom raises. The object is written without a warning, and its outer header still
#   says what report it is.
# Why it matters: measurements and findings are what makes a de-identified study useful for
#   training. They vanish from a data set whose files look complete.
# What we do: it is not used; the text of a report is scrubbed by rules of our own
#   (service/studies/scrubbing.py).
#
# Seen:
#   dicom-anonymizer 2.1.0 highdicom 0.28.2
#   value types before: ['CODE', 'CONTAINER', 'IMAGE', 'NUM', 'PNAME', 'TEXT', 'UIDREF']
#   value types after:  ['ANONYMIZED']
#   title after: Imaging Measurement Report
#   highdicom, after: 'ANONYMIZED' is not a valid ValueTypeValues
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  dicom-anonymizer==2.1.0 highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import highdicom
import numpy as np
import pydicom
from dicomanonymizer import anonymize_dicom_file
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

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


def report(image):
    """A structured report of an invented reader with one length measured on the image."""
    image.PatientID, image.PatientName = "EXAMPLE", "Example^Patient"
    image.PatientBirthDate, image.PatientSex = "", "O"
    image.StudyDate, image.StudyTime, image.StudyID = "20260301", "120000", "1"
    image.AccessionNumber, image.ReferringPhysicianName = "", ""
    reader = sr.PersonObserverIdentifyingAttributes(name="Example^Reader")
    length = sr.Measurement(Code("410668003", "SCT", "Length"), 12.5, codes.UCUM.Millimeter)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(generate_uid(), "nodule"),
        measurements=[length],
        source_images=[sr.SourceImageForMeasurementGroup.from_source_image(image)],
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_person_context=sr.ObserverContext(codes.DCM.Person, reader)
        ),
        procedure_reported=Code("363680008", "SCT", "Radiographic imaging procedure"),
        imaging_measurements=[group],
    )
    return sr.ComprehensiveSR(
        evidence=[image],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Example",
    )


def kinds(items):
    """All value types within the items."""
    for item in items:
        yield item.ValueType
        yield from kinds(item.get("ContentSequence", []))


def readable(path):
    try:
        sr.srread(path)
    except ValueError as error:
        print("highdicom, after:", error)
        return False
    return True


report(radiograph(np.zeros((64, 64), np.uint16))).save_as("before.dcm")
anonymize_dicom_file("before.dcm", "after.dcm")
before, after = pydicom.dcmread("before.dcm"), pydicom.dcmread("after.dcm")
print(*(f"{package} {version(package)}" for package in ("dicom-anonymizer", "highdicom")))
print("value types before:", sorted(set(kinds(before.ContentSequence))))
print("value types after: ", sorted(set(kinds(after.ContentSequence))))
print("title after:", after.ConceptNameCodeSequence[0].CodeMeaning)

expect(readable("before.dcm"), "the report cannot be read before")
expect(set(kinds(after.ContentSequence)) == {"ANONYMIZED"}, "value types are kept")
expect(not readable("after.dcm"), "the report can be read after")
PYTHON
