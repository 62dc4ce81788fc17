"""A pool of worker processes, one for each core, for work on pixels."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from threadpoolctl import threadpool_limits

PRELOADED = ["training.data.rendering", "training.data.shards"]
"""Modules whose functions the workers run: imported once, before the workers are forked."""


def process_pool() -> ProcessPoolExecutor:
    """Returns workers of one thread each, forked from a process that has no threads.

    A fork of the calling process could inherit a held lock; workers with several threads each
    would compete for the cores.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_one_thread)


def _one_thread() -> None:
    threadpool_limits(1)
