#!/usr/bin/env bash
# fhir.resources empties the attachment of a report in Greek, Russian or Japanese.
#
# Expected: Attachment(data=bytes) holds these bytes, or refuses them.
# Happens: bytes are taken as Base64 text and decoded once more. Characters that Base64 does not
#   know are skipped, so a text in another script becomes empty, without an error. An English text
#   becomes other bytes or raises an error, by its length. Base64 text given by the caller works.
# Why it matters: a DiagnosticReport's presentedForm then has an attachment of no bytes. It is a
#   valid resource, and the receiving system stores an empty report.
# What we do: the resource is written as JSON with Base64 text (service/reporting/formats.py); the
#   library only checks it in tests.
#
# Seen:
#   fhir.resources 8.3.0
#   Greek: 64 bytes given as bytes → b''; as Base64 text → 64 bytes
#   Russian: 64 bytes given as bytes → b''; as Base64 text → 64 bytes
#   Japanese: 39 bytes given as bytes → b''; as Base64 text → 39 bytes
#   English: 28 bytes given as bytes → b"Jf\xa5\x96W\x9f\xb6\x99^\xba\xb6\xa5y\xf7\xee\xb2*'"; as
#     Base64 text → 28 bytes
#   English, shorter: 20 bytes given as bytes → "Base64 decoding error: 'Invalid base64-encoded
#     string: number of data characters (17) cannot be 1 more than a multiple of 4'"; as Base64 text
#     → 20 bytes
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  fhir.resources==8.3.0 fhir-core==1.1.12 pydantic==2.14.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import base64
import sys
from importlib.metadata import version

from fhir.resources.attachment import Attachment
from pydantic import ValidationError


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


REPORTS = {
    "Greek": "Μικρή πλευριτική συλλογή αριστερά.",
    "Russian": "Небольшой плевральный выпот слева.",
    "Japanese": "左側に少量の胸水を認める。",
    "English": "Small left pleural effusion.",
    "English, shorter": "Small left effusion.",
}


def attached(data):
    try:
        return Attachment(contentType="text/plain; charset=utf-8", data=data).data
    except ValidationError as error:
        return error.errors()[0]["msg"]


print("fhir.resources", version("fhir.resources"))
for language, text in REPORTS.items():
    report = text.encode()
    as_bytes, as_base64 = attached(report), attached(base64.b64encode(report).decode())
    print(
        f"{language}: {len(report)} bytes given as bytes → {as_bytes!r};",
        f"as Base64 text → {len(as_base64)} bytes",
    )
    expect(as_base64 == report, f"Base64 text of a {language} report is not decoded")
    if language.startswith("English"):
        expect(as_bytes != report, "an English report is attached as it is")
    else:
        expect(as_bytes == b"", f"a {language} report is not emptied")
PYTHON
