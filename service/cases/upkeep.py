"""Looks after the shards of an embedded library in threads, off the way of its writes.

One brings what was written to the disk. One builds the graphs by which large segments are searched.
One sweeps away what killed backups left. One reads a large library ahead once it is open.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from service.cases.layout import SCANNED
from service.cases.room import taken
from service.cases.shard import Shard
from service.cases.shards import Shards
from service.telemetry import log

_QUIET_S = 2.0
"""Seconds without a write after which the files are synced."""
_FLUSHED_S = 120.0
"""Seconds after which the engine is asked to flush a shard, which shortens its log. Opening after a
kill repeats the log.

A flush of 5,000 new points takes 0.03 s, and more on a busy disk. No other thread of Python runs
meanwhile.
"""
_LOOK_AT_FILES_S = 0.5
"""Seconds between two looks at whether files are to be synced or a shard flushed."""
_BUILT_S = 10.0
"""Seconds between two looks at whether a graph is due."""
_SWEPT_S = 60.0
"""Seconds between two sweeps."""
_RETRY_S = 60.0
"""Seconds that a thread pauses after an error: a full disk, or a graph for which memory lacks."""
_IN_MEMORY = 0.5
"""Share of the machine's memory: a library that takes more is not read ahead."""
_LOOK_S = 0.05
"""Seconds between two attempts to stop a rewriting that has not begun yet."""
DUE_LIVING = SCANNED
"""Points without a graph that a library in use may gather in a shard."""
_DUE_BUSY = 40_000
"""Points that it may gather while writes go on, since each rewriting takes a core for seconds.

To flush and to close the earlier generation stops searches for 0.06 s each; with 100,000 points it
took 0.08 and 0.2 s, and a search 6 instead of 2 ms.
"""
DUE_BULK = 250_000
"""Points that bulk work gathers: fewer and larger segments are built, and each of them once."""


class Upkeep:
    """The threads of one library.

    save: syncs the shards' files. flush: lets the engine flush a shard. rewrite: rewrites a shard,
    which builds the graphs that are due. sweep: removes what killed backups left. due: points
    without a graph after which a shard is rewritten. at_once: shards that are rewritten at a time.
    """

    def __init__(
        self,
        shards: Shards,
        save: Callable[[], None],
        flush: Callable[[], None],
        rewrite: Callable[[Shard], None],
        sweep: Callable[[], None],
        due: int,
        at_once: int,
    ) -> None:
        self._shards, self._save, self._flush = shards, save, flush
        self._rewrite, self._due, self._at_once = rewrite, due, at_once
        self._left: dict[Shard, int] = {}
        """Points for which a rewriting made no graph, as their segments are too small."""
        self.rewriting = threading.Lock()
        """Held while shards are rewritten. It is acquired before the library's lock of writers."""
        self._building = set[Shard]()
        """Shards that a thread rewrites to build graphs: what closing gives up."""
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=work, name="upkeep", daemon=True)
            for work in (
                (self._keep_files, _LOOK_AT_FILES_S),
                (self._build_due, _BUILT_S),
                (sweep, _SWEPT_S),
            )
        ]

    def start(self, *, reads_ahead: bool) -> None:
        """Starts the threads. reads_ahead: whether files are read for the searches that follow."""
        if reads_ahead:
            reading = threading.Thread(target=self._read_ahead, name="upkeep", daemon=True)
            self._threads.append(reading)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads. A graph that it is building is given up; the next opening builds it."""
        self._ending.set()
        for thread in self._threads:
            while thread.is_alive():
                _stop(self._building)
                thread.join(_LOOK_S)

    def rewrite(self) -> None:
        """Rewrites every shard, and returns when it is done."""
        self._each(self._rewrite, self._shards)

    def build_graphs(self) -> None:
        """Rewrites the shards that have enough points for a graph, and returns when it is done."""
        self._each(self._rewrite, (each for each in self._shards if each.unindexed >= SCANNED))

    def _repeat(self, work: Callable[[], None], pause_s: float) -> None:
        pause = pause_s
        while not self._ending.wait(pause):
            try:
                work()
                pause = pause_s
            except Exception as error:  # logs are synced, and what has no graph is scanned
                pause = max(pause_s, _RETRY_S)
                if not self._ending.is_set():
                    log().error("upkeep failed", error=type(error).__name__)

    def _read_ahead(self) -> None:
        large = [shard for shard in self._shards if shard.points >= SCANNED]
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        try:
            if sum(taken(shard.path) for shard in large) <= _IN_MEMORY * memory:
                for shard in large:
                    shard.read_ahead(self._ending)
        except OSError as error:  # searches read what they need
            log().error("reading ahead failed", error=type(error).__name__)

    def _keep_files(self) -> None:
        if self._shards.unsaved and self._shards.quiet_s >= _QUIET_S:
            self._save()
        if self._shards.unflushed_s >= _FLUSHED_S:
            self._flush()

    def _build_due(self) -> None:
        due = self._due if self._shards.quiet_s >= _QUIET_S else max(self._due, _DUE_BUSY)
        waiting = (s for s in self._shards if s.unindexed - self._left.get(s, 0) >= due)
        self._each(self._build, waiting)

    def _each(self, work: Callable[[Shard], None], shards: Iterable[Shard]) -> None:
        """Does work on shards, some at once. Raises the first error, once each had its turn."""
        with self.rewriting, ThreadPoolExecutor(self._at_once) as pool:
            begun = {shard: pool.submit(work, shard) for shard in shards}
            try:
                wait(begun.values())
            except BaseException:  # the process is interrupted
                pool.shutdown(wait=False, cancel_futures=True)
                while wait(begun.values(), _LOOK_S).not_done:
                    _stop(begun)
                raise
        for each in begun.values():
            each.result()

    def _build(self, shard: Shard) -> None:
        if self._ending.is_set():
            return
        unindexed = shard.unindexed
        self._building.add(shard)
        try:
            self._rewrite(shard)
        finally:
            self._building.discard(shard)
        self._left[shard] = unindexed if shard.unindexed >= unindexed else 0


def _stop(shards: Iterable[Shard]) -> None:
    for shard in list(shards):
        shard.stop_rewriting()
