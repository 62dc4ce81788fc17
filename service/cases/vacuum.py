"""Writes the segments of a Qdrant Edge shard again, without what was deleted from them.

A program of its own, `python vacuum.py SHARD PARENT`: the engine holds Python's global lock
meanwhile, and a server that did this itself would answer nobody, for minutes in a large library.
"""

import ctypes
import os
import signal
import sys

import qdrant_edge

_PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when its parent ends."""


def main(shard: str, parent: int) -> None:
    """Rewrites the segments of a shard that nobody writes to. Ends when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    opened = qdrant_edge.EdgeShard.load(shard)
    opened.optimize()
    opened.flush()
    opened.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
