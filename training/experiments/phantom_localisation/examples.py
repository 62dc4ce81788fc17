"""Draws the maps of several arms on the same phantoms, from the trained runs of one seed.

For each finding that has a mask, it is the first test phantom with this finding alone. Nobody
chooses it.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.arrays import Bools, UInt8
from service.bundle.maps import upsampled
from training.data.dataset import open_pairs
from training.evaluate.encode import TorchEncoder
from training.evaluate.pointing import Floats
from training.experiments.cells import Cell, Protocol
from training.experiments.phantom_localisation.maps import maps
from training.experiments.phantom_localisation.run import trained
from training.experiments.phantom_localisation.truth import LABELS, Single
from training.run.folder import load_run

SEED = 1001
ARMS = (
    ("main", "clip"),
    ("main", "duplicate_always"),
    ("main", "shuffled_attention"),
    ("main", "gaze_attention"),
    ("others", "oracle_attention"),
)


def draw_maps(protocol: Protocol, runs: Path) -> Figure:
    """Draws phantoms with their lesion outlined, and where each trained arm looks at them."""
    single: Single | None = None
    columns: dict[str, Floats] = {}
    for part, arm in ARMS:
        cell = Cell(part, arm, SEED, protocol.parts[part].arms[arm])
        if trained(runs, cell).exists():
            _, clip = load_run(trained(runs, cell))
            recipe = protocol.recipe_of(cell, runs / "phantoms")
            if single is None:
                read = open_pairs(recipe.data, clip.image, Path(), recipe.expert.sigma)
                single = Single.of(read("test")).firsts()
            columns[arm] = maps(TorchEncoder(clip), single)["attention"]
    if single is None:
        raise FileNotFoundError(f"no run of seed {SEED} is in {runs}; train it first")
    return _drawn(single, columns)


def _drawn(single: Single, columns: dict[str, Floats]) -> Figure:
    rows, across = len(single.rows), 1 + len(columns)
    figure = Figure(figsize=(1.7 * across, 1.75 * rows), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False)
    names = list(LABELS)
    for at, line in enumerate(grid):
        image, inside = single.pixels[at], single.inside[at]
        _panel(line[0], image, inside, None)
        line[0].set_ylabel(names[single.labels[at]], fontsize=8)
        for axes, grids in zip(line[1:], columns.values(), strict=True):
            _panel(axes, image, inside, upsampled(grids[at], *image.shape))
    for axes, title in zip(grid[0], ("lesion outlined", *columns), strict=True):
        axes.set_title(title, fontsize=8)
    return figure


def _panel(axes: Axes, image: UInt8, inside: Bools, heat: Floats | None) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    if heat is not None:
        axes.imshow(heat, cmap="inferno", alpha=0.55)
    axes.contour(inside, [0.5], colors="cyan", linewidths=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
