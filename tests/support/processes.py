"""Counts what a process and its descendants hold: memory, descriptors, threads, zombies."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

DEADLINE_S = 60
"""Seconds after which what is awaited counts as missing."""


@dataclass(frozen=True)
class Held:
    """What a tree of processes holds. `descriptors` and `threads` are those of its root."""

    processes: int
    zombies: int
    descriptors: int
    threads: int
    resident_mb: float

    @classmethod
    def by(cls, pid: int | None = None) -> "Held":
        """Counts what this process, or another, holds now."""
        root = psutil.Process(pid)
        tree, resident, zombies = [root, *root.children(recursive=True)], 0, 0
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                zombies += process.status() == psutil.STATUS_ZOMBIE
                resident += process.memory_info().rss
        return cls(len(tree), zombies, root.num_fds(), root.num_threads(), round(resident / 2**20))


def decoders(pid: int | None = None) -> list[psutil.Process]:
    """Returns the decoder processes of this process, or of another."""
    return [each for each in psutil.Process(pid).children(recursive=True) if _is_decoder(each)]


def _is_decoder(process: psutil.Process) -> bool:
    try:
        return any("popen_loky" in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Returns those that run still; a zombie does not."""
    return [each for each in processes if _runs(each)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(true: Callable[[], object], what: str) -> None:
    """Waits until something is true. Fails if it never is."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)
