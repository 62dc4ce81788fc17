#!/usr/bin/env bash
# Qdrant Edge keeps the texts of deleted points in its write-ahead log, also after optimize().
#
# Expected: once a point is deleted, flushed, and the segments are written again without it, no file
#   of the shard holds its payload.
# Happens: the segments lose it, and the log keeps it, also after the shard is closed and opened
#   again. The log drops a file only after later entries have filled the next one.
# Why it matters: who deletes a patient's report, and backs up or hands on the shard's directory,
#   gives the report away.
# What we do: an erasure begins a new log that goes on with the numbers of the old one
#   (service/cases/vacuum.py), and a test searches the raw bytes of every file.
#
# Seen:
#   qdrant-edge-py 0.9.0
#   the deleted text is in: ['wal']
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check qdrant-edge-py==0.9.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import qdrant_edge as qdrant

WORD = "zyxreportofapatient"
vectors = {"image": qdrant.EdgeVectorParams(size=2, distance=qdrant.Distance.Cosine)}
vacuum = qdrant.EdgeOptimizersConfig(deleted_threshold=0.0, vacuum_min_vector_number=0)
config = qdrant.EdgeConfig(vectors=vectors, optimizers=vacuum)
shard = qdrant.EdgeShard.create("library", config)
texts = ["kept", WORD]
points = [qdrant.Point(n + 1, {"image": [1.0, n]}, {"text": texts[n]}) for n in range(2)]
shard.update(qdrant.UpdateOperation.upsert_points(points))
shard.update(qdrant.UpdateOperation.delete_points([2]))
shard.flush()
shard.optimize()
shard.flush()
shard.close()
shard = qdrant.EdgeShard.load("library", config)
assert shard.count(qdrant.CountRequest()) == 1
shard.close()

files = [path for path in Path("library").rglob("*") if path.is_file()]
found = sorted({path.parts[1] for path in files if WORD.encode() in path.read_bytes()})
print("qdrant-edge-py", version("qdrant-edge-py"))
print("the deleted text is in:", found)
if found != ["wal"]:
    sys.exit("Changed: the log no longer keeps what was deleted, or the segments do")
PYTHON
