"""Writes the segments of a Qdrant Edge shard again, without what was deleted from them.

A program of its own, `python vacuum.py SHARD THREADS PARENT`: the engine holds Python's global lock
meanwhile, and a server that did this itself would answer nobody, for minutes in a large library.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

_PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when its parent ends."""
_NICE = 10
"""How far this process stands back behind those that answer."""
_NO_POINT = str(uuid.UUID(int=0))
"""Id of a point that no study has."""


def main(shard: Path, threads: int, parent: int) -> None:
    """Rewrites the segments of a shard that nobody else has open. Ends when its parent ends.

    threads: that build a graph at most; 0: as many as the engine likes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.nice(_NICE)
    _bound_threads(shard / "edge_config.json", threads)
    _close(qdrant.EdgeShard.load(str(shard)))  # repeats what is in its log alone
    number = _renew_log(shard)
    opened = qdrant.EdgeShard.load(str(shard))
    _litter(opened)
    opened.flush()
    if _last_number(shard) <= number:
        raise RuntimeError("The engine does not continue the numbers of its log.")
    opened.optimize()
    _close(opened)


def _bound_threads(file: Path, threads: int) -> None:
    config = json.loads(file.read_text())
    if "hnsw_config" in config:
        config["hnsw_config"]["max_indexing_threads"] = threads
        file.write_text(json.dumps(config))


def _renew_log(shard: Path) -> int:
    """Replaces the log by an empty one, and returns the number of the last update.

    The engine numbers updates by their place in the log, and keeps with each point the number of
    its last one. It passes over an update with a lower number without a word. So the new log begins
    with a file that ends, without an entry, at the number where the old log ended.
    """
    log, number = shard / "wal", _last_number(shard)
    shutil.rmtree(log)
    _close(qdrant.EdgeShard.load(str(shard)))
    (log / "open-1").rename(log / f"closed-{number + 1}")
    return number


def _last_number(shard: Path) -> int:
    """Returns the highest number of an update that was flushed."""
    states = [json.loads(file.read_text()) for file in shard.glob("segments/*/segment.json")]
    return max(state["version"] or 0 for state in states)


def _litter(shard: qdrant.EdgeShard) -> None:
    """Deletes a point of the segment that takes writes.

    There a replaced point leaves its old payload in the files, but does not count as deleted.
    """
    point: Any = qdrant.Point(_NO_POINT, {}, {})
    shard.update(qdrant.UpdateOperation.upsert_points([point]))
    shard.update(qdrant.UpdateOperation.delete_points([_NO_POINT]))


def _close(shard: qdrant.EdgeShard) -> None:
    shard.flush()
    shard.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
