#!/usr/bin/env bash
# Qdrant Edge orders equal scores at random, another way in each shard of the same points.
#
# Expected: two shards that got the same points in the same upsert answer a query alike.
# Happens: points with the same vector come in another order in each shard, so a limit keeps other
#   points. One shard keeps its order.
# Why it matters: reports repeat each other ("No pneumothorax."), and images are stored twice. A copy
#   of a library then finds other studies than its source, and no comparison of both can pass.
# What we do: fetch beyond the limit until scores fall, and take the lowest point ids. Fusion and
#   diversity are computed in the same way outside the engine, since its own rank equals at random.
#
# Seen:
#   qdrant-edge-py 0.9.0
#   5 best of 40 equal points, in 8 shards: 8 different answers
#   asked again, a shard answers the same: True
#   one point an upsert, in 8 shards: 1 different answers
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


SHARDS, POINTS, LIMIT = 8, 40, 5
PARAMS = qdrant.EdgeVectorParams(size=4, distance=qdrant.Distance.Cosine)
CONFIG = qdrant.EdgeConfig(vectors={"image": PARAMS})
SAME = [0.5, 0.5, 0.5, 0.5]


def filled(name, at_once):
    shard = qdrant.EdgeShard.create(name, CONFIG)
    points = [qdrant.Point(number, {"image": SAME}, {}) for number in range(1, POINTS + 1)]
    for start in range(0, POINTS, at_once):
        shard.update(qdrant.UpdateOperation.upsert_points(points[start : start + at_once]))
    return shard


def best(shard):
    query = qdrant.Query.Nearest(SAME, using="image")
    return tuple(p.id for p in shard.query(qdrant.QueryRequest(limit=LIMIT, query=query)))


print("qdrant-edge-py", version("qdrant-edge-py"))
shards = [filled(f"together{number}", POINTS) for number in range(SHARDS)]
answers = [best(shard) for shard in shards]
print(
    f"{LIMIT} best of {POINTS} equal points, in {SHARDS} shards:",
    f"{len(set(answers))} different answers",
)
again = [best(shard) for shard in shards] == answers
print("asked again, a shard answers the same:", again)
single = {best(filled(f"single{number}", 1)) for number in range(SHARDS)}
print(f"one point an upsert, in {SHARDS} shards: {len(single)} different answers")

expect(len(set(answers)) > 1, "shards of the same points now answer alike")
expect(again, "one shard now answers differently each time")
expect(len(single) == 1, "points that were written one by one no longer answer alike")
PYTHON
