"""One DICOM file on standard input → its pixels as .npy on standard output, decoded by gdcm.

A process of its own: on some damaged JPEG and JPEG-LS frames gdcm ends the process that it runs in.
`service.imaging.dicom` runs this file; nothing imports it.
"""

import io
import sys

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

if __name__ == "__main__":
    dataset = pydicom.dcmread(io.BytesIO(sys.stdin.buffer.read()), force=True)
    np.save(sys.stdout.buffer, pixel_array(dataset, index=0, decoding_plugin="gdcm"))
