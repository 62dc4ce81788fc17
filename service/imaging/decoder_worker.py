"""What a decoder process runs (see `service.imaging.decoder_processes`)."""

import mmap
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.imaging.dicom import codecs
from service.imaging.dicom.frame_header import FrameHeader
from service.imaging.shared_memory import write

Words = npt.NDArray[Any]

_WATCH_S = 1
"""Seconds between two looks at whether the service still runs."""


def start(service: int) -> None:
    """Prepares the process. service: the process that it works for.

    It writes nothing to the service's outputs. The service ends it, not whoever signals the whole
    group of processes; and it ends itself once the service has ended.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(service,), daemon=True).start()


def _end_with(service: int) -> None:
    while os.getppid() == service:
        time.sleep(_WATCH_S)
    os._exit(0)


def decode(header: FrameHeader, frame: bytes, level: int, bound: int, most_s: float) -> Words:
    """Returns the words of a frame.

    bound: bytes of memory that it may take. most_s: seconds, after which the process is killed.

    Raises what `codecs.decode` does.
    """
    with _bounded(bound, most_s):
        return codecs.decode(header, frame, level)


def decode_shared(
    header: FrameHeader, path: str, length: int, level: int, bound: int, most_s: float
) -> None:
    """Replaces a frame of this length in shared memory by its words.

    Raises OSError if the memory cannot be opened, and what `codecs.decode` does.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        words = decode(header, os.pread(descriptor, length, 0), level, bound, most_s)
        write(descriptor, words.reshape(-1).view(np.uint8).data)
    finally:
        os.close(descriptor)


@contextmanager
def _bounded(memory: int, seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        _bound_memory(memory)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _bound_memory(more: int) -> None:
    """Lets the process take so many bytes of addresses more than it has. Linux alone says it."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * mmap.PAGESIZE + more
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
