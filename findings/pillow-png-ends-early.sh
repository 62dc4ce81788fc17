#!/usr/bin/env bash
# Pillow shows the missing rows of a PNG black where its data ends after a whole row.
#
# Expected: an error, as Pillow gives for data that ends inside a row.
# Happens: where the compressed data is sound and ends after a whole row (or a whole pass of an
#   interlaced image), the image loads without an error or a warning. The rows that are missing have
#   the value 0. A program that writes fewer rows than it declared leaves such a file.
# Why it matters: a radiograph whose lower half is missing is read as one with black lung bases.
# What we do: where the last row is black, or the image is interlaced, we inflate the data and count
#   its bytes (service/imaging/png.py).
#
# Seen:
#   pillow 13.0.0
#   32 of 64 rows: loads; the other rows are all 0
#   32 of 64 rows and half of another: OSError
#   five of seven passes, interlaced: loads; 1024 of 4096 pixels are not 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import io
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(lines, interlaced=0):
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, interlaced)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


print("pillow", PIL.__version__)
row = b"\0" + bytes([200]) * 64  # the filter's number, and 64 pixels

shown = np.asarray(Image.open(png(row * 32)))
expect((shown[:32] == 200).all() and not shown[32:].any(), "the missing rows are not 0")
print("32 of 64 rows: loads; the other rows are all 0")

try:
    Image.open(png(row * 32 + row[:30])).load()
except OSError:
    print("32 of 64 rows and half of another: OSError")
else:
    sys.exit("Changed: data that ends inside a row loads")

passes = [(8, 8), (8, 8), (8, 16), (16, 16), (16, 32)]  # rows and columns of the first five
lines = b"".join((b"\0" + bytes([200]) * columns) * rows for rows, columns in passes)
shown = np.asarray(Image.open(png(lines, interlaced=1)))
expect(0 < np.count_nonzero(shown) < shown.size, "an interlaced image is whole or refused")
print(
    "five of seven passes, interlaced: loads;",
    f"{np.count_nonzero(shown)} of {shown.size} pixels are not 0",
)
PYTHON
