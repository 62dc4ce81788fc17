#!/usr/bin/env bash
# highdicom's presentation state turns a MONOCHROME1 radiograph into its negative.
#
# Expected: a presentation state made for an image, with no wish about greys, shows it as it is.
# Happens: GrayscaleSoftcopyPresentationState writes PresentationLUTShape IDENTITY for MONOCHROME1
#   too. A viewer applies the presentation state's shape in place of the image's photometric
#   interpretation, so 0 of a MONOCHROME1 image, which means white, is shown black.
# Why it matters: a result sent back to the archive as a presentation state, to draw an arrow, shows
#   a radiograph in which air is white and bone black.
# What we do: no presentation state is written yet; pass an INVERSE presentation_lut_transformation
#   for MONOCHROME1, as the second state here.
#
# Seen:
#   highdicom 0.28.2
#   image: MONOCHROME1, PresentationLUTShape INVERSE
#   presentation state: PresentationLUTShape IDENTITY; asked for INVERSE: INVERSE
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import highdicom
import numpy as np

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


def state(image, **options):
    """Returns the grey scale of a presentation state that asks for nothing but the options."""
    return highdicom.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Example",
        manufacturer_model_name="Example",
        software_versions="1",
        device_serial_number="1",
        content_label="EXAMPLE",
        **options,
    ).PresentationLUTShape


def patient(image):
    """The same image with the headers of an invented patient that highdicom copies."""
    image.PatientID, image.PatientName = "EXAMPLE", "Example^Patient"
    image.PatientBirthDate, image.PatientSex = "", "O"
    image.StudyDate, image.StudyTime, image.StudyID = "20260301", "120000", "1"
    image.AccessionNumber, image.ReferringPhysicianName = "", ""
    image.SeriesNumber = image.InstanceNumber = 1
    return image


stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
image = patient(radiograph(stored, "MONOCHROME1"))
image.PresentationLUTShape = "INVERSE"
inverse = highdicom.PresentationLUTTransformation(presentation_lut_shape="INVERSE")
by_default, asked = state(image), state(image, presentation_lut_transformation=inverse)
print("highdicom", version("highdicom"))
print(
    f"image: {image.PhotometricInterpretation}, PresentationLUTShape {image.PresentationLUTShape}"
)
print(f"presentation state: PresentationLUTShape {by_default}; asked for INVERSE: {asked}")

expect(by_default == "IDENTITY", "the image's polarity is now taken over")
expect(asked == "INVERSE", "INVERSE cannot be asked for")
PYTHON
