#!/usr/bin/env bash
# Qdrant Edge's optimize() stops every other thread of the Python process.
#
# Expected: a call into native code that runs for seconds lets the other threads of the process run.
# Happens: optimize() keeps Python's global lock until it has written the segments and built their
#   graphs. A thread that only counts stands still for nearly all of it.
# Why it matters: a server that calls optimize() in a thread of its own answers nobody meanwhile, not
#   even a health probe; in a library of a hundred thousand studies that is minutes.
# What we do: service/cases/vacuum.py runs it in another process, on a copy of the files.
#
# Seen:
#   qdrant-edge-py 0.9.0
#   another thread stood still for over half of optimize(): True
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 qdrant-edge-py==0.9.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
import threading
import time
from importlib.metadata import version

import numpy as np
import qdrant_edge as qdrant

vectors = {"image": qdrant.EdgeVectorParams(size=128, distance=qdrant.Distance.Cosine)}
optimizers = qdrant.EdgeOptimizersConfig(indexing_threshold=1000)  # kilobytes: a graph is built
shard = qdrant.EdgeShard.create("library", qdrant.EdgeConfig(vectors=vectors, optimizers=optimizers))
random = np.random.default_rng(0).standard_normal((20_000, 128)).tolist()
for first in range(0, len(random), 1000):
    numbers = range(first, first + 1000)
    points = [qdrant.Point(number, {"image": random[number]}, {}) for number in numbers]
    shard.update(qdrant.UpdateOperation.upsert_points(points))
shard.flush()

gaps, ended = [], threading.Event()


def tick():
    last = time.monotonic()
    while not ended.is_set():
        time.sleep(0.01)
        now = time.monotonic()
        gaps.append(now - last)
        last = now


ticking = threading.Thread(target=tick)
ticking.start()
start = time.monotonic()
shard.optimize()
took = time.monotonic() - start
ended.set()
ticking.join()

print("qdrant-edge-py", version("qdrant-edge-py"))
stood_still = max(gaps) > took / 2
print("another thread stood still for over half of optimize():", stood_still)
if took < 0.5:
    sys.exit("Changed: optimize() built no graph, or is far faster; use more points")
if not stood_still:
    sys.exit("Changed: other threads run during optimize()")
PYTHON
