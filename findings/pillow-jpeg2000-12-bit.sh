#!/usr/bin/env bash
# Pillow returns a 12-bit JPEG 2000 multiplied by 16, and moves signed values up.
#
# Expected: the values that were stored, 0…4095, as JPEG 2000 decoders for DICOM give them.
# Happens: Pillow opens the codestream as I;16 and stretches it to 16 bits by the precision that the
#   codestream declares: 4095 becomes 65520. Signed values are shifted too: −2048 becomes 0. Nothing
#   in the image says so.
# Why it matters: DICOM's window, rescale slope and padding are in stored values. Applied to
#   Pillow's, the window of a radiograph shows a black or white image, and a signed one is off by
#   its offset.
# What we do: JPEG 2000 in DICOM is decoded by imagecodecs. Pillow decodes it at lower resolutions
#   only, and both changes are undone (service/imaging/dicom/jpeg2000.py).
#
# Seen:
#   pillow 13.0.0
#   unsigned: stored 0…4095, openjpeg 0…4095, Pillow (I;16) 0…65520
#   signed: stored -2048…2047, openjpeg -2048…2047, Pillow (I;16) 0…65520
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pillow==13.0.0 pylibjpeg-openjpeg==2.6.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import io
import sys

import numpy as np
import PIL
from openjpeg import decode
from openjpeg.utils import encode_array
from PIL import Image


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


GRAY = 2  # the encoder's number for MONOCHROME2
unsigned = np.arange(4096, dtype=np.uint16).reshape(64, 64)
signed = (unsigned.astype(np.int16) - 2048).astype(np.int16)

print("pillow", PIL.__version__)
for name, stored in (("unsigned", unsigned), ("signed", signed)):
    codestream = bytes(encode_array(stored, bits_stored=12, photometric_interpretation=GRAY))
    exact = decode(codestream)
    image = Image.open(io.BytesIO(codestream))
    shown = np.asarray(image).astype(int)
    print(
        f"{name}: stored {stored.min()}…{stored.max()}, openjpeg {exact.min()}…{exact.max()},",
        f"Pillow ({image.mode}) {shown.min()}…{shown.max()}",
    )
    expect(np.array_equal(exact, stored), f"openjpeg does not return {name} values as stored")
    offset = 2048 if name == "signed" else 0
    expect(
        np.array_equal(shown, (stored.astype(int) + offset) * 16),
        f"Pillow no longer stretches {name} 12-bit values to 16 bits",
    )
PYTHON
