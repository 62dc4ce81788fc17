"""Defines an experiment's cells, and runs those that are not finished, one on each core."""

import logging
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Self

import torch
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from training.data.phantom import PhantomConfig, fingerprint
from training.recipe import Recipe, load_recipe

PHANTOM_SEEDS = 40_000
"""Seed s has phantoms of its own, those of data set 40,000 + s."""
PHANTOMS = PhantomConfig(size=64, seed=PHANTOM_SEEDS, contrast=1.5)
FINGERPRINT = "bfe2d3eb260ed53c4c0aecfc9c3a9b83e7461cad20a8d546c7b5cedd82dc5f54"
"""sha256 of PHANTOMS as they were frozen. With another, the results would be of other phantoms."""
Overrides = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Arms that are compared on the same seeds. arms: name → overrides of the recipe."""

    arms: Mapping[str, Overrides]
    seeds: range


@dataclass(frozen=True)
class Cell:
    """One arm on one seed."""

    part: str
    arm: str
    seed: int
    overrides: Overrides

    @property
    def key(self) -> tuple[str, str, int]:
        """The cell's part, arm and seed, which no other cell has."""
        return self.part, self.arm, self.seed


@dataclass(frozen=True)
class Protocol:
    """A recipe and the parts that are run with it."""

    base: Path
    """A recipe file."""
    recipe: Overrides
    """Overrides of the base that all cells share."""
    parts: Mapping[str, Part]

    def check_frozen(self) -> None:
        """Raises RuntimeError if this code draws other phantoms than those that were frozen."""
        if fingerprint(PHANTOMS) != FINGERPRINT:
            raise RuntimeError(
                "this code does not draw the phantoms of the pre-registration; run the commit that "
                "froze them, or another version of NumPy"
            )

    def cells(self, part: str) -> Iterator[Cell]:
        """Yields the cells of a part, seed by seed, so that it is balanced wherever it stops."""
        for seed in self.parts[part].seeds:
            for arm, overrides in self.parts[part].arms.items():
                yield Cell(part, arm, seed, overrides)

    def recipe_of(self, cell: Cell, cache: Path) -> Recipe:
        """Returns the recipe of one cell. Phantoms are kept in `cache`."""
        own = (
            f"seed={cell.seed}",
            f"data.seed={PHANTOM_SEEDS + cell.seed}",
            f"data.cache={cache}",
        )
        return load_recipe(str(self.base), [*self.recipe, *cell.overrides, *own])

    def smaller(self, seeds: int, *recipe: str) -> Self:
        """Returns the protocol with fewer seeds and a smaller recipe, to see that it runs."""
        parts = {name: replace(part, seeds=part.seeds[:seeds]) for name, part in self.parts.items()}
        return replace(self, recipe=recipe, parts=parts)


def run_cells(
    cells: Sequence[Cell],
    run_seed: Callable[[Sequence[Cell]], None],
    finished: Callable[[], object],
) -> None:
    """Runs cells seed by seed, one seed in each of this machine's cores.

    run_seed: runs the cells of one seed in another process. finished: is called after each seed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.fit.trainer"])
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_one_thread) as pool,
        Progress() as progress,
    ):
        task = progress.add_task("Cells", total=len(cells))
        jobs = {pool.submit(run_seed, group): len(group) for group in _by_seed(cells)}
        try:
            for job in as_completed(jobs):
                job.result()
                finished()
                progress.advance(task, jobs[job])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _by_seed(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Groups the cells of one part and seed, so that one process renders their phantoms."""
    return [list(group) for _, group in groupby(cells, key=lambda cell: (cell.part, cell.seed))]


def _one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning\.")
