#!/usr/bin/env bash
# Importing pynetdicom adds transfer syntaxes to pydicom's own dictionary.
#
# Expected: what pydicom knows of a UID does not depend on which other package was imported.
# Happens: pydicom 3.0.2 has no name for the syntaxes of JPEG XL and for deflated image frames.
#   After `import pynetdicom` it has, in the whole process.
# Why it matters: a program names, counts or refuses a transfer syntax by this dictionary. It then
#   answers otherwise once somebody has imported pynetdicom, and a test passes alone and fails beside
#   others. pydicom still decodes none of these syntaxes.
# What we do: the service keeps its own list of syntaxes; the test of that list leaves out the one that
#   pynetdicom adds.
#
# Seen:
#   pydicom 3.0.2, pynetdicom 3.0.4
#   before: 1.2.840.10008.1.2.4.110, 1.2.840.10008.1.2.8.1
#   after: JPEG XL Lossless, Deflated Image Frame Compression
#   decoded by pydicom: False, False
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pydicom==3.0.2 pynetdicom==3.0.4
"$work/venv/bin/python" - << 'PY'
from importlib.metadata import version

from pydicom.pixels import get_decoder
from pydicom.uid import UID

SYNTAXES = ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1")


def decoded(syntax):
    try:
        return bool(get_decoder(UID(syntax)))
    except NotImplementedError:
        return False


print(f"pydicom {version('pydicom')}, pynetdicom {version('pynetdicom')}")
before = [UID(each).name for each in SYNTAXES]
import pynetdicom

after = [UID(each).name for each in SYNTAXES]
can = [decoded(each) for each in SYNTAXES]
print(f"before: {', '.join(before)}")
print(f"after: {', '.join(after)}")
print(f"decoded by pydicom: {', '.join(map(str, can))}")
assert before == list(SYNTAXES), "pydicom knows these syntaxes by itself now"
assert after == ["JPEG XL Lossless", "Deflated Image Frame Compression"], "pynetdicom adds others"
assert can == [False, False], "pydicom decodes them now"
PY
