"""Memory that the service shares with a decoder process, through the descriptor of a memfd.

Its pages stay for the next frame. For 10 MB of words and 4 MB of frame, that takes 5 ms. To map new
pages takes 11 ms, because the system clears each one when it is first written; a pipe takes 28 ms.
Memory of this kind has no name, needs no /dev/shm, and ends with the processes that hold it.
"""

import os
import weakref
from typing import Any

import numpy.typing as npt

KEPT = 32 * 2**20
"""Bytes of memory that is kept for the next frame; more than that is freed."""


class SharedMemory:
    """Holds a frame, then its words. Every method raises OSError where there is no such memory."""

    def __init__(self) -> None:
        self._descriptor = -1

    def hold(self, frame: bytes) -> str:
        """Writes a frame; returns the path by which another process of this user opens it."""
        if self._descriptor < 0:
            if not hasattr(os, "memfd_create"):
                raise OSError
            self._descriptor = os.memfd_create("frame")
            weakref.finalize(self, os.close, self._descriptor)
        write(self._descriptor, frame)
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def read(self, words: npt.NDArray[Any]) -> None:
        """Fills words with what the other process wrote."""
        if os.preadv(self._descriptor, [words.reshape(-1).data], 0) != words.nbytes:
            raise OSError
        if os.fstat(self._descriptor).st_size > KEPT:
            os.ftruncate(self._descriptor, 0)


def write(descriptor: int, data: bytes | memoryview) -> None:
    """Writes all, from the start on. Raises OSError if there is too little memory."""
    if os.pwrite(descriptor, data, 0) != len(data):
        raise OSError
