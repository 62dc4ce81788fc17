#!/usr/bin/env bash
# pydicom's code for "cardiomegaly" is the code of an enlarged septal foramen of the heart.
#
# Expected: two names in pydicom's table of SNOMED CT codes with different meanings have different
#   codes.
# Happens: codes.SCT.Cardiomegaly and codes.SCT.EnlargedSeptalForamenOfHeart are both 287272002. By
#   the context groups of pydicom's table, the first is from PS3.16's CID 12248 and 12249.
#   SNOMED CT's concept of an enlarged heart, 8186001, is not in the table. highdicom takes its
#   codes from pydicom.
# Why it matters: a structured report that is coded by this name says something else than its text.
#   A receiver that searches, counts or alerts by code finds no cardiomegaly.
# What we do: codes of findings are in a table of our own (service/pacs/drafts/codes.py).
#
# Seen:
#   pydicom 3.0.2
#   Cardiomegaly: 287272002
#   other names of 287272002: EnlargedSeptalForamenOfHeart
#   names of 8186001: none
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pydicom==3.0.2
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from pydicom.sr.codedict import codes


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def names(value):
    """Returns the names that pydicom has for a code of SNOMED CT."""
    return [name for name in codes.SCT.dir() if getattr(codes.SCT, name).value == value]


code = codes.SCT.Cardiomegaly
others = [name for name in names(code.value) if name != "Cardiomegaly"]
heart = names("8186001")
print("pydicom", version("pydicom"))
print("Cardiomegaly:", code.value)
print(f"other names of {code.value}:", ", ".join(others) or "none")
print("names of 8186001:", ", ".join(heart) or "none")

expect(code.value == "287272002", "Cardiomegaly has another code")
expect(others == ["EnlargedSeptalForamenOfHeart"], "the code has other names")
expect(not heart, "the table has SNOMED CT's concept")
PYTHON
