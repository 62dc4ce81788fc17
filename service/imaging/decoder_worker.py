"""What a decoder process runs (see `service.imaging.decoder_processes`)."""

import errno
import mmap
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.imaging.dicom import codecs
from service.imaging.dicom.frame_header import FrameHeader

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


def decode(
    header: FrameHeader, frame: bytes, level: int, memory: str, bound: int, most_s: float
) -> Words | None:
    """Decodes a frame into the memory at a path; returns the words where it cannot be opened.

    bound: bytes of memory that it may take. most_s: seconds, after which the process is killed.

    Raises what `codecs.decode` does.
    """
    signal.setitimer(signal.ITIMER_REAL, most_s)
    try:
        _bound_memory(bound)
        words = _opened(memory, header, level)
        decoded = codecs.decode(header, frame, level, words)
        return decoded if words is None else None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _opened(path: str, header: FrameHeader, level: int) -> Words | None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        return mapped(descriptor, header, level)
    finally:
        os.close(descriptor)


def mapped(descriptor: int, header: FrameHeader, level: int) -> Words:
    """Returns words that lie in shared memory, without a copy. Raises MemoryError."""
    try:
        memory = mmap.mmap(descriptor, header.words_bytes(level))
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from None
        raise
    return np.frombuffer(memory, header.dtype).reshape(header.shape(level))


def _bound_memory(more: int) -> None:
    """Lets the process take so many bytes of addresses more than it has. Linux alone says it."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * mmap.PAGESIZE + more
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
