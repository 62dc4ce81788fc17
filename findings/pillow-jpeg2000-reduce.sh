#!/usr/bin/env bash
# Pillow's reduced decoding of JPEG 2000 fails for every image whose size does not suit it.
#
# Expected: reduce=k gives an image of the size divided by 2 to the k, for any size.
# Happens: JPEG 2000 rounds that division up, Pillow rounds it to the nearest. Where the two differ,
#   loading raises "broken data stream", though the file is whole: for k = 2, sizes of 1 modulo 4,
#   for k = 3, of 1, 2 or 3 modulo 8. k = 1 always works.
# Why it matters: reduced decoding reads a large radiograph many times as fast, which is what a
#   preview needs. Detectors have all sizes, so it works in a test and fails in a hospital.
# What we do: a plugin of our own tells Pillow the size as JPEG 2000 rounds it.
#
# Seen:
#   pillow 13.0.0
#   reduce=0: fails for widths []
#   reduce=1: fails for widths []
#   reduce=2: fails for widths [97, 101, 105, 109]
#   reduce=3: fails for widths [97, 98, 99, 105, 106, 107]
#   message: broken data stream when reading image file
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
from openjpeg.utils import encode_array
from PIL import Image


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


GRAY = 2  # the encoder's number for MONOCHROME2
WIDTHS = range(96, 112)


def loads(width, reduce):
    """Whether Pillow loads a whole file of that width, reduced."""
    pixels = np.tile(np.arange(width, dtype=np.uint8), (96, 1))
    image = Image.open(io.BytesIO(bytes(encode_array(pixels, photometric_interpretation=GRAY))))
    image.reduce = reduce
    try:
        image.load()
    except OSError as error:
        messages.add(str(error))
        return False
    return True


messages = set()
print("pillow", PIL.__version__)
failed = {}
for reduce in (0, 1, 2, 3):
    failed[reduce] = [width for width in WIDTHS if not loads(width, reduce)]
    print(f"reduce={reduce}: fails for widths", failed[reduce])
print("message:", *messages)

expect(failed[0] == failed[1] == [], "whole or halved images fail")
expect(failed[2] == [w for w in WIDTHS if w % 4 == 1], "other sizes fail for reduce=2")
expect(failed[3] == [w for w in WIDTHS if w % 8 in (1, 2, 3)], "other sizes fail for reduce=3")
PYTHON
