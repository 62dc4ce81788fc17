#!/usr/bin/env bash
# Qdrant Edge drops a shard's files from the system's cache when it closes the shard.
#
# Expected: a shard that is closed and loaded again is as fast as before. The system still has its
#   files in memory.
# Happens: `close()` tells the system to forget every file that is kept on the disk. The next searches
#   read them page by page of 4 KB. Two shards that share files by hard links lose them together: one
#   is closed, and searches in the other one wait for the disk.
# Why it matters: the first search in 50,000 vectors took 130 ms instead of 3 ms, and each call keeps
#   Python's global lock. So a server answers nobody meanwhile.
# What we do: a rewritten shard is read once before it is loaded, and files that two shards share are
#   removed from the old one before it is closed.
#
# Seen:
#   qdrant-edge-py 0.9.0
#   Vectors in the system's cache while the shard is open: True
#   Vectors in the system's cache after it was closed: False
set -euo pipefail

work=$(mktemp -d -p /var/tmp) # on a disk: files of /tmp may always be in memory
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 qdrant-edge-py==0.9.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import os
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import qdrant_edge as qdrant

POINTS, DIMENSION = 2_000, 512
random = np.random.default_rng(0).standard_normal((POINTS, DIMENSION)).tolist()


def cached(file):
    """Tells whether the first page of a file can be read without waiting for the disk."""
    with file.open("rb") as opened:
        try:
            return os.preadv(opened.fileno(), [bytearray(4096)], 0, os.RWF_NOWAIT) == 4096
        except BlockingIOError:
            return False


vectors = qdrant.EdgeVectorParams(size=DIMENSION, distance=qdrant.Distance.Cosine, on_disk=True)
optimizers = qdrant.EdgeOptimizersConfig(indexing_threshold=1000)  # kilobytes
config = qdrant.EdgeConfig(vectors={"image": vectors}, optimizers=optimizers)
shard = qdrant.EdgeShard.create("shard", config)
points = [qdrant.Point(number, {"image": each}, {}) for number, each in enumerate(random)]
shard.update(qdrant.UpdateOperation.upsert_points(points))
shard.flush()
shard.optimize()
shard.close()

shard = qdrant.EdgeShard.load("shard")
(file,) = Path("shard").rglob("matrix.dat")
file.read_bytes()
opened = cached(file)
shard.close()
closed = cached(file)
print("qdrant-edge-py", version("qdrant-edge-py"))
print("Vectors in the system's cache while the shard is open:", opened)
print("Vectors in the system's cache after it was closed:", closed)
if not opened or closed:
    sys.exit("Changed, or the folder is in memory")
PYTHON
