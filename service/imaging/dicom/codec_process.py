"""Program that decodes one DICOM file: file on standard input, .npy on standard output.

Arguments: the pydicom plugin, and attributes to set before decoding as JSON. The exit status is
ENOMEM where memory is short.

It runs in its own process, because on some damaged frames gdcm ends the process and pyjpegls
decodes for minutes. `service.imaging.dicom.pixels` runs this file; nothing imports it.
"""

import errno
import io
import json
import sys

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array


def main(plugin: str, attributes: str) -> None:
    """Decodes the file on standard input."""
    dataset = pydicom.dcmread(io.BytesIO(sys.stdin.buffer.read()), force=True)
    for name, value in json.loads(attributes).items():
        setattr(dataset, name, value)
    np.save(
        sys.stdout.buffer,
        pixel_array(dataset, index=0, decoding_plugin=plugin, correct_unused_bits=False),
    )


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except MemoryError:
        sys.exit(errno.ENOMEM)
