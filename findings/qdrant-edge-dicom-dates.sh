#!/usr/bin/env bash
# Qdrant Edge's date ranges silently miss dates as DICOM writes them.
#
# Expected: a StudyDate of 20260301 is either a date within "since January 2026", or refused.
# Happens: a payload with "20260301" is stored, the field may be indexed as a date, and every range
#   over it finds nothing, without an error. The same text as a bound raises ValueError. Written as
#   2026-03-01, the date is found.
# Why it matters: DICOM's DA values have no hyphens. A filter "studies of this year" over dates
#   copied from headers is always empty, which reads like "there are none".
# What we do: the library stores whole minutes, and no dates.
#
# Seen:
#   qdrant-edge-py 0.9.0
#   since 2026-01-01, no index: {'dicom': 0, 'iso': 1}
#   since 2026-01-01, indexed as dates: {'dicom': 0, 'iso': 1}
#   20260101 as a bound: ValueError failed to parse date-time: input contains invalid characters
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import qdrant_edge as qdrant


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


vectors = {"image": qdrant.EdgeVectorParams(size=2, distance=qdrant.Distance.Cosine)}
shard = qdrant.EdgeShard.create("library", qdrant.EdgeConfig(vectors=vectors))
payload = {"dicom": "20260301", "iso": "2026-03-01"}
shard.update(
    qdrant.UpdateOperation.upsert_points([qdrant.Point(1, {"image": [1.0, 0.0]}, payload)])
)


def since(field, bound):
    """Returns how many points have a date in the field at or after the bound."""
    condition = qdrant.FieldCondition(field, range=qdrant.RangeDateTime(gte=bound))
    return shard.count(qdrant.CountRequest(filter=qdrant.Filter(must=[condition])))


print("qdrant-edge-py", version("qdrant-edge-py"))
plain = {field: since(field, "2026-01-01") for field in payload}
print("since 2026-01-01, no index:", plain)
for field in payload:
    index = qdrant.PayloadSchemaType.Datetime
    shard.update(qdrant.UpdateOperation.create_field_index(field, index))
indexed = {field: since(field, "2026-01-01") for field in payload}
print("since 2026-01-01, indexed as dates:", indexed)
try:
    since("iso", "20260101")
    refused = False
except ValueError as error:
    refused = True
    print("20260101 as a bound:", type(error).__name__, error)

expect(plain == indexed == {"dicom": 0, "iso": 1}, "dates without hyphens are found")
expect(refused, "a bound without hyphens is accepted")
PYTHON
