"""One pool of processes a core, for work on pixels."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from threadpoolctl import threadpool_limits


def process_pool() -> ProcessPoolExecutor:
    """Workers of one thread each, forked from a process without threads.

    A fork of this process may inherit a held lock; workers with threads fight over the cores.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.data.pairs"])
    return ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_one_thread)


def _one_thread() -> None:
    threadpool_limits(1)
