#!/usr/bin/env bash
# Qdrant Edge opens a shard many times slower when its quantised vectors are "cached".
#
# Expected: `Memory.Cached` reads a file into the page cache when a shard is opened. Of a file that is
#   there already, as after the last opening, that takes no time.
# Happens: the file is read from the disk again at each opening, and page by page of 4 KB. Opening
#   the 26 MB of 50,000 vectors took us 9 to 16 s on a cloud disk; with `Memory.Cold` .07 s, and
#   searches were as fast.
# Why it matters: opening keeps Python's global lock, so a server answers nobody meanwhile, and starts
#   minutes later with a large library.
# What we do: quantised vectors are `Memory.Cold`; the system keeps in memory what searches read.
#
# Seen:
#   qdrant-edge-py 0.9.0
#   Cached opens over three times slower than Cold: True
set -euo pipefail

work=$(mktemp -d -p /var/tmp) # on a disk: /tmp may be in memory, where nothing is read from a disk
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 qdrant-edge-py==0.9.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import statistics
import sys
import time
from importlib.metadata import version

import numpy as np
import qdrant_edge as qdrant

POINTS, DIMENSION = 20_000, 512
random = np.random.default_rng(0).standard_normal((POINTS, DIMENSION)).tolist()


def opening_s(name, memory):
    """Builds a shard with a graph, and returns the median of three openings in seconds."""
    int8 = qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8, memory=memory)
    vectors = qdrant.EdgeVectorParams(
        size=DIMENSION, distance=qdrant.Distance.Cosine, quantization_config=int8
    )
    optimizers = qdrant.EdgeOptimizersConfig(indexing_threshold=1000)  # kilobytes
    config = qdrant.EdgeConfig(vectors={"image": vectors}, optimizers=optimizers)
    shard = qdrant.EdgeShard.create(name, config)
    for first in range(0, POINTS, 1000):
        numbers = range(first, first + 1000)
        points = [qdrant.Point(number, {"image": random[number]}, {}) for number in numbers]
        shard.update(qdrant.UpdateOperation.upsert_points(points))
    shard.flush()
    shard.optimize()
    shard.close()
    took = []
    for _ in range(3):
        start = time.monotonic()
        shard = qdrant.EdgeShard.load(name)
        took.append(time.monotonic() - start)
        shard.close()
    return statistics.median(took)


cold = opening_s("cold", qdrant.Memory.Cold)
cached = opening_s("cached", qdrant.Memory.Cached)
print("qdrant-edge-py", version("qdrant-edge-py"))
print("Cached opens over three times slower than Cold:", cached > 3 * cold)
if cached <= 3 * cold:
    sys.exit(f"Changed, or a disk that is as fast as memory: {cached:.3f} s and {cold:.3f} s")
PYTHON
