"""Compares the readers of phantoms with a real radiologist, and fits the measured reader to them.

python -m training.data.reader_check FOLDER [--fit]

FOLDER holds siim_acr_gaze.json (`training.data.sources.siim_acr`). The distance of two samples is
the Kolmogorov–Smirnov statistic: the largest difference between the shares of values up to any
bound. Between 125 images and the distribution that they come from, it exceeds .12 once in twenty
times. Readings are drawn without their images, so the comparison takes seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import stats

from training.data.gaze import Sigma, heatmap
from training.data.phantom.canvas import Array, draw_pose
from training.data.phantom.gaze import draw_gaze
from training.data.phantom.plan import draw_findings
from training.data.phantom.render import PhantomConfig
from training.data.phantom.scanpath import MEASURED, Habits, draw_scanpath
from training.data.sources import read_source
from training.data.study import Gaze, ManifestStudy

DRAWN = 2_000
"""Readings that are drawn of each synthetic reader."""
CELLS = 8
SIDE, SPREAD = 64, Sigma(3.2, "pixel")
"""Pixels a side of a heatmap, and the spread of a fixation: a twentieth of the side."""
Measures = Mapping[str, Callable[[Gaze], Array | float]]
Values = Mapping[str, Array]
"""The values of each measure over all readings: float64[readings], or one for each fixation."""


def main(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Has the gaze file")],
    *,
    fit: Annotated[
        bool, typer.Option("--fit", help="Print the habits nearest to the file")
    ] = False,
) -> None:
    """Prints a table: median (5th to 95th percentile) of each reader, and the distances."""
    real = [
        gaze
        for study in read_source("siim_acr", folder)
        if isinstance(study, ManifestStudy)
        for gaze in study.gaze
    ]
    for line in [str(fitted(real))] if fit else table(real):
        typer.echo(line)


def table(real: Sequence[Gaze]) -> Iterator[str]:
    """Yields the table's lines, in Markdown, and how far apart fixations lie in their order."""
    own, even, alike = (
        measured(readings, {**MEASURES, **PLACES})
        for readings in (real, drawn(draw_gaze), drawn(draw_scanpath))
    )
    yield "| measure | real | simulated | distance | measured | distance |"
    yield "|---|---|---|---|---|---|"
    for name in own:
        even_off, alike_off = (distance(own[name], other[name]) for other in (even, alike))
        yield (
            f"| {name} | {_summary(own[name])} | {_summary(even[name])} | {even_off:.2f} "
            f"| {_summary(alike[name])} | {alike_off:.2f} |"
        )
    yield ""
    in_order, shuffled = consecutive(real)
    yield f"Median step, mean over images: {in_order:.2f} in order, {shuffled:.2f} shuffled."


def drawn(draw: Callable[..., Gaze], count: int = DRAWN, seed: int = 0) -> list[Gaze]:
    """Draws readings of phantoms without their images, normal ones among them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    normal = PhantomConfig.normal
    return [draw(rng, draw_findings(rng, normal), draw_pose(rng)) for _ in range(count)]


def _dwells(reading: Gaze) -> Array:
    return np.asarray(np.asarray(reading.duration) / np.mean(reading.duration))


def _steps(reading: Gaze) -> Array:
    return np.asarray(np.hypot(np.diff(reading.x), np.diff(reading.y)))


def _shares(reading: Gaze) -> Array:
    """Returns the share of the dwell in each cell that was looked at: float64[cells]."""
    edges = np.linspace(0.0, 1.0, CELLS + 1)
    looked, _, _ = np.histogram2d(reading.y, reading.x, [edges, edges], weights=reading.duration)
    return np.asarray(looked[looked > 0.0] / looked.sum())


def _area(reading: Gaze) -> float:
    return float(100.0 * (heatmap([reading], SIDE, SIDE, SPREAD) > 0.5).mean())


MEASURES: Measures = {
    "fixations of an image": len,
    "dwell on a fixation / mean of its image": _dwells,
    "distance from the fixation before / side": _steps,
    "cells of 8 × 8 looked at": lambda reading: float(len(_shares(reading))),
    "entropy of the dwell over the cells / bit": lambda reading: float(
        stats.entropy(_shares(reading), base=2)
    ),
    "area above half the heatmap's maximum / %": _area,
    "distance from the reading's centre, RMS / side": lambda reading: float(
        np.hypot(np.std(reading.x), np.std(reading.y))
    ),
}
"""What the measured reader is fitted to. None depends on where on the image the reading lies."""
PLACES: Measures = {
    "x of the reading's centre": lambda reading: float(np.mean(reading.x)),
    "y of the reading's centre": lambda reading: float(np.mean(reading.y)),
}


def measured(readings: Sequence[Gaze], measures: Measures = MEASURES) -> Values:
    """Returns the values of each measure over the readings."""
    return {
        name: np.concatenate([np.atleast_1d(measure(reading)) for reading in readings])
        for name, measure in measures.items()
    }


def distance(one: Array, other: Array) -> float:
    """Returns the Kolmogorov–Smirnov statistic of two samples."""
    return float(stats.ks_2samp(one, other).statistic)


def consecutive(readings: Sequence[Gaze]) -> tuple[float, float]:
    """Returns the mean over readings of the median step, in order and in a random order."""
    rng = np.random.Generator(np.random.PCG64(0))
    orders = [rng.permutation(len(reading)) for reading in readings]
    shuffled = [
        Gaze(*(tuple(np.take(values, order)) for values in (one.x, one.y, one.duration)))
        for one, order in zip(readings, orders, strict=True)
    ]
    in_order, out_of_order = (
        float(np.mean([np.median(_steps(one)) for one in some])) for some in (readings, shuffled)
    )
    return in_order, out_of_order


def fitted(real: Sequence[Gaze], count: int = DRAWN) -> Habits:
    """Returns the habits nearest to real readings.

    The number of fixations and the mean dwell follow from the readings; `least` leaves the
    logarithms least skewed. Visits and scatter are searched on a grid, for the smallest of the
    largest distances. The shape of the dwell is kept.
    """
    numbers = np.array([len(reading) for reading in real])
    least = min(range(numbers.min()), key=lambda k: abs(stats.skew(np.log(numbers - k))))
    beyond = np.log(numbers - least)
    longer = [np.array(reading.duration) / min(reading.duration) - 1.0 for reading in real]
    fixations = (least, round(float(beyond.mean()), 2), round(float(beyond.std()), 2))
    dwell = (round(float(np.concatenate(longer).mean()), 2), MEASURED.dwell[1])
    grid = product((2.0, 2.2, 2.5, 2.8), (0.03, 0.035, 0.04), (0.8, 1.0))
    own = measured(real)

    def off(habits: Habits) -> float:
        values = measured(drawn(partial(draw_scanpath, habits=habits), count))
        return max(distance(own[name], values[name]) for name in own)

    return min(
        (Habits(fixations, dwell, visit, (scatter, spread)) for visit, scatter, spread in grid),
        key=off,
    )


def _summary(values: Array) -> str:
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{middle:.3g} ({low:.3g}–{high:.3g})"


if __name__ == "__main__":
    typer.run(main)
