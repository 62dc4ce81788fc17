"""One pool of processes a core, for work on pixels."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor


def process_pool() -> ProcessPoolExecutor:
    """Workers forked from a process without threads: a fork of this one may inherit a held lock."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.data.pairs"])
    return ProcessPoolExecutor(os.cpu_count(), mp_context=context)
