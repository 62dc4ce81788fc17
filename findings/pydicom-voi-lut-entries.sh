#!/usr/bin/env bash
# pydicom's VOI LUT with 8-bit entries wraps round after 256 values.
#
# Expected: a VOI LUT of 1,024 entries of 8 bits maps 1,024 stored values (PS3.3 C.11.2.1.1).
# Happens: `apply_voi_lut` takes the index modulo 256, without a warning. Mid grey becomes black, and
#   white becomes dark grey.
# Why it matters: viewers and training sets made with it hold radiographs with torn greys, and no
#   error tells.
# What we do: LUTs are applied by our own code (service/imaging/dicom/grayscale.py).
#
# Seen:
#   pydicom 3.0.2, numpy 2.4.6
#   stored 0 255 256 512 1023: got 0 63 0 0 63, the LUT says 0 63 63 127 255
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut

ENTRIES = 1024
table = (np.arange(ENTRIES) * 255 // (ENTRIES - 1)).tolist()
lut = Dataset()
lut.add_new("LUTDescriptor", "US", [ENTRIES, 0, 8])
lut.add_new("LUTData", "US", table)
radiograph = Dataset()
radiograph.BitsAllocated, radiograph.BitsStored, radiograph.PixelRepresentation = 16, 10, 0
radiograph.VOILUTSequence = [lut]
stored = np.array([0, 255, 256, 512, 1023], np.uint16)

got = apply_voi_lut(stored, radiograph).tolist()
wanted = [table[value] for value in stored]
print(f"pydicom {pydicom.__version__}, numpy {np.__version__}")
print(f"stored {' '.join(map(str, stored))}:", end=" ")
print(f"got {' '.join(map(str, got))}, the LUT says {' '.join(map(str, wanted))}")
if got != [table[value % 256] for value in stored]:
    sys.exit("Changed: the index is no longer taken modulo 256")
PYTHON
