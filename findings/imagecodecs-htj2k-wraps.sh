#!/usr/bin/env bash
# imagecodecs turns white into black beside hard edges of an HTJ2K image.
#
# Expected: a decoder ends values at the range that the codestream declares, as JPEG 2000 asks:
#   what lossy coding or a lower resolution lifts over 255 stays 255.
# Happens: htj2k_decode (OpenJPH) wraps such values round: 257 becomes 1. It does so for lossy frames
#   at full size, and for lower resolutions (skipres) of lossless ones. jpeg2k_decode of the same
#   package (OpenJPEG) reads the same frame without it. A lossless frame at full size is exact.
# Why it matters: the edge of collimation and letters are such edges. A thumbnail, or a model's input
#   that is decoded at a lower resolution, has black dots in white, and the other way round.
# What we do: lossy HTJ2K is decoded by OpenJPEG; lower resolutions only where a spare bit of the
#   word shows the overshoot, which is then cut off (service/imaging/dicom/jpeg2000.py).
#
# Seen:
#   imagecodecs 2026.3.6 openjph 0.26.3 openjpeg 2.5.4
#   lossless, whole: 0 inverted
#   lossy, whole: 530 of 4096 inverted by OpenJPH, 0 by OpenJPEG
#   lossless, half the size: 62 of 1024 inverted; a row: 255 255 255 255 255 255 255 31 32 0 0 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  imagecodecs==2026.3.6 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import imagecodecs
import numpy as np


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def inverted(image, right):
    """Pixels that are black in place of white, or white in place of black."""
    return int((np.abs(image.astype(int) - right) > 200).sum())


frame = np.pad(np.zeros((32, 32), np.uint8), 16, constant_values=255)
versions = imagecodecs.version(dict)
print(*(f"{name} {versions[name]}" for name in ("imagecodecs", "openjph", "openjpeg")))

lossless = imagecodecs.htj2k_encode(frame, reversible=True)
print("lossless, whole:", inverted(imagecodecs.htj2k_decode(lossless), frame), "inverted")
expect(np.array_equal(imagecodecs.htj2k_decode(lossless), frame), "lossless frames are not exact")

lossy = imagecodecs.htj2k_encode(frame, reversible=False, level=0.02)
by_openjph = inverted(imagecodecs.htj2k_decode(lossy), frame)
by_openjpeg = inverted(imagecodecs.jpeg2k_decode(lossy), frame)
print(f"lossy, whole: {by_openjph} of {frame.size} inverted by OpenJPH, {by_openjpeg} by OpenJPEG")
expect(by_openjph > 0, "OpenJPH ends lossy values at their range")
expect(by_openjpeg == 0, "OpenJPEG inverts pixels too")

half = imagecodecs.htj2k_decode(lossless, skipres=1)
wrong = inverted(half, frame[::2, ::2])
print(f"lossless, half the size: {wrong} of {half.size} inverted; a row:", *half[16, :12])
expect(wrong > 0, "OpenJPH ends values of lower resolutions at their range")
PYTHON
