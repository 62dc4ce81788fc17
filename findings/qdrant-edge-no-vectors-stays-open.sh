#!/usr/bin/env bash
# Qdrant Edge never closes a segment of points without vectors, and keeps its payload index in memory.
#
# Expected: a payload index that was asked for on the disk (`KeywordIndexParams(on_disk=True)`) takes no
#   memory once `optimize()` has run, whatever else the points have.
# Happens: whether a segment is optimised is judged by the size of its vectors. Points without one add
#   nothing, so `optimize()` does nothing, the segment goes on taking points, and the index of such a
#   segment is in memory as well as on the disk. A sparse vector of one word is enough to end this.
# Why it matters: a shard of plain records beside shards of vectors looks like the cheapest one, and takes
#   the most memory.
# What we do: each record has one word that nobody looks for (service/cases/edge_requests.py), and the
#   threshold of its shard counts those (layout.py).
#
# Seen:
#   qdrant-edge-py 0.9.0
#   without a vector: optimised False, closed segments 0, memory more than with one: True
#   with one word: optimised True, closed segments 1
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 qdrant-edge-py==0.9.0
cat >"$work/write.py" <<'PYTHON'
import sys
from pathlib import Path

import qdrant_edge as qdrant

name, vectors = sys.argv[1], {"words": qdrant.SparseVector([0], [1.0])}
Path(name).mkdir()
optimizers = qdrant.EdgeOptimizersConfig(indexing_threshold=40)  # kilobytes; a word takes 8 bytes
words = {"words": qdrant.EdgeSparseVectorParams(on_disk=True)}
shard = qdrant.EdgeShard.create(
    name, qdrant.EdgeConfig(sparse_vectors=words, optimizers=optimizers, on_disk_payload=True)
)
update, on_disk = qdrant.UpdateOperation, qdrant.KeywordIndexParams(on_disk=True)
for key in ("study", "patient", "source"):
    shard.update(update.create_field_index(key, on_disk))
for first in range(0, 30_000, 500):
    numbers = range(first, first + 500)
    shard.update(
        update.upsert_points(
            [
                qdrant.Point(
                    n,
                    vectors if name == "word" else {},
                    {"study": f"study {n:032}", "patient": f"patient {n:032}", "source": "ward"},
                )
                for n in numbers
            ]
        )
    )
print(shard.optimize())
shard.flush()
shard.close()
PYTHON
cat >"$work/load.py" <<'PYTHON'
import sys

import qdrant_edge as qdrant


def anonymous():
    lines = open("/proc/self/smaps_rollup").readlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


before = anonymous()
shard = qdrant.EdgeShard.load(sys.argv[1], None)
print(anonymous() - before)
shard.close()
PYTHON
cd "$work"
for name in none word; do
  "$work/venv/bin/python" write.py "$name" >"$name.optimised"
  "$work/venv/bin/python" load.py "$name" >"$name.kilobytes"
  find "$name/segments" -name id_tracker.mappings | wc -l | tr -d ' ' >"$name.closed"
done
more=$([ "$(cat none.kilobytes)" -gt $((2 * $(cat word.kilobytes))) ] && echo True || echo False)
seen="without a vector: optimised $(cat none.optimised), closed segments $(cat none.closed), memory more than with one: $more
with one word: optimised $(cat word.optimised), closed segments $(cat word.closed)"
"$work/venv/bin/python" -c 'from importlib.metadata import version; print("qdrant-edge-py", version("qdrant-edge-py"))'
echo "$seen"
[ "$seen" = "without a vector: optimised False, closed segments 0, memory more than with one: True
with one word: optimised True, closed segments 1" ]
