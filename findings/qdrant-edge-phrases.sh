#!/usr/bin/env bash
# In Qdrant Edge, a text index makes every search for a phrase find nothing.
#
# Expected: an index changes how fast a filter answers, never what it finds.
# Happens: MatchPhrase finds a phrase while the field has no index. With a text index of default
#   settings the same filter finds nothing, without an error, while MatchText still finds it. Only
#   an index made with phrase_matching=True finds phrases again.
# Why it matters: "left pleural effusion" as words also matches a right effusion and a left
#   pacemaker, so phrases are what a radiologist asks for; an empty answer reads like "no such
#   study".
# What we do: no field has a text index, and searches by words use sparse vectors.
#
# Seen:
#   qdrant-edge-py 0.9.0
#   no index: phrase 1, words 1
#   text index: phrase 0, words 1
#   text index, phrase_matching=True: phrase 1, words 1
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


TEXT = "Small left pleural effusion. No pneumothorax."


def found(*index):
    """Returns how many of one point a phrase and its words find, with the field indexed so."""
    vectors = {"report": qdrant.EdgeVectorParams(size=2, distance=qdrant.Distance.Cosine)}
    shard = qdrant.EdgeShard.create(f"library-{len(seen)}", qdrant.EdgeConfig(vectors=vectors))
    point = qdrant.Point(1, {"report": [1.0, 0.0]}, {"text": TEXT})
    shard.update(qdrant.UpdateOperation.upsert_points([point]))
    for kind in index:
        shard.update(qdrant.UpdateOperation.create_field_index("text", kind))
    matches = qdrant.MatchPhrase("left pleural effusion"), qdrant.MatchText("left pleural effusion")
    conditions = [qdrant.FieldCondition("text", match=match) for match in matches]
    filters = [qdrant.Filter(must=[condition]) for condition in conditions]
    return tuple(shard.count(qdrant.CountRequest(filter=one)) for one in filters)


seen = {}
print("qdrant-edge-py", version("qdrant-edge-py"))
seen["no index"] = found()
seen["text index"] = found(qdrant.PayloadSchemaType.Text)
seen["text index, phrase_matching=True"] = found(qdrant.TextIndexParams(phrase_matching=True))
for index, (phrase, words) in seen.items():
    print(f"{index}: phrase {phrase}, words {words}")

expect(seen["no index"] == (1, 1), "without an index a phrase is not found")
expect(seen["text index"] == (0, 1), "a text index no longer hides phrases")
expect(seen["text index, phrase_matching=True"] == (1, 1), "phrase_matching does not help")
PYTHON
