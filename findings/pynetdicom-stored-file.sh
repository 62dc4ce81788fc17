#!/usr/bin/env bash
# A C-STORE handler that saves pynetdicom's dataset writes a file that cannot be decoded.
#
# Expected: event.dataset.save_as(path) writes the DICOM file that was received.
# Happens: the file has no preamble, no file meta and no transfer syntax. dcmread refuses it; with
#   force=True the header can be read, but compressed pixels are lost, as nothing says how they are
#   compressed. The sender has got the status of success. event.encoded_dataset() holds the whole
#   file.
# Why it matters: modalities delete what was acknowledged. A receiver tested with uncompressed
#   images works, and loses the first study that comes as JPEG-LS.
# What we do: the receiver keeps event.encoded_dataset(), and reads it back before it answers.
#
# Seen:
#   pynetdicom 3.0.4 pydicom 3.0.2
#   sender's status: 0x0000
#   dataset.save_as, read: InvalidDicomError: File is missing DICOM File Meta Information header or
#     the 'DICM' prefix is missing from the header. Use force=True to force reading.
#   dataset.save_as, read by force, decoded: AttributeError: Unable to decode the pixel data as the
#     dataset's 'file_meta' has no (0002,0010) 'Transfer Syntax UID' element
#   encoded_dataset(), decoded exactly: True
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pynetdicom==3.0.4 pydicom==3.0.2 pyjpegls==1.5.1 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import pydicom
import pynetdicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import JPEGLSLossless
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


def store(event):
    event.dataset.save_as("dataset.dcm")
    Path("encoded.dcm").write_bytes(event.encoded_dataset())
    return 0x0000


def send(dataset):
    """Returns the status that the sender gets from a receiver with that handler."""
    kind, syntaxes = dataset.SOPClassUID, [dataset.file_meta.TransferSyntaxUID]
    receiver, sender = AE(), AE()
    receiver.add_supported_context(kind, syntaxes)
    sender.add_requested_context(kind, syntaxes)
    handlers = [(evt.EVT_C_STORE, store)]
    server = receiver.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    association = sender.associate(*server.server_address)
    status = association.send_c_store(dataset).Status
    association.release()
    server.shutdown()
    return status


def error_of(act):
    try:
        act()
    except (InvalidDicomError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
dataset = radiograph(stored)
dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls")
status = send(dataset)
unreadable = error_of(lambda: pydicom.dcmread("dataset.dcm"))
undecodable = error_of(lambda: pydicom.dcmread("dataset.dcm", force=True).pixel_array)
whole = np.array_equal(pydicom.dcmread("encoded.dcm").pixel_array, stored)
print("pynetdicom", pynetdicom.__version__, "pydicom", pydicom.__version__)
print(f"sender's status: 0x{status:04x}")
print("dataset.save_as, read:", unreadable)
print("dataset.save_as, read by force, decoded:", undecodable)
print("encoded_dataset(), decoded exactly:", whole)

expect(status == 0, "the sender gets a failure")
expect(unreadable and undecodable, "the saved dataset can be decoded")
expect(whole, "encoded_dataset() does not hold the whole file")
PYTHON
