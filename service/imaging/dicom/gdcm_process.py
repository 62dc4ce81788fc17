"""Program that decodes one DICOM file with gdcm: file on standard input, .npy on standard output.

It runs in its own process, because on some damaged JPEG and JPEG-LS frames gdcm ends the process.
`service.imaging.dicom.pixels` runs this file; nothing imports it.
"""

import io
import sys

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

if __name__ == "__main__":
    dataset = pydicom.dcmread(io.BytesIO(sys.stdin.buffer.read()), force=True)
    np.save(sys.stdout.buffer, pixel_array(dataset, index=0, decoding_plugin="gdcm"))
