"""Draws the figures of the experiment: differences from `duplicate`, with 95 % intervals."""

from collections.abc import Collection

from matplotlib.figure import Figure

from training.experiments.differences import BySeed, Difference
from training.experiments.figures import whisker
from training.experiments.phantom_gaze.contrasts import PRIMARY, baseline, compared
from training.experiments.results import Results


def draw_arms(results: Results) -> Figure:
    """Draws each arm's difference from its part's duplicate."""
    rows = [row for row in compared(results) if row[0] != "shares"]
    figure = Figure(figsize=(2 + 0.35 * len(rows), 5.5), layout="constrained")
    axes = figure.subplots()
    for place, (_, _, difference) in enumerate(rows):
        whisker(axes, place, difference, color="C0")
    names = [f"{arm} ({part}, n = {difference.n})" for part, arm, difference in rows]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("macro AUROC minus that of duplicate")
    return figure


def draw_doses(results: Results) -> Figure:
    """Draws the effect of eclip as more of its gaze is misplaced."""
    seeds = results.of("doses", "eclip, 50 % misplaced", PRIMARY).keys()
    arms = [("main", "eclip")]
    arms += [("doses", f"eclip, {dose} % misplaced") for dose in (25, 50, 75)]
    arms += [("main", "shuffled_gaze")]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for dose, (part, arm) in zip((0, 25, 50, 75, 100), arms, strict=True):
        own = {
            seed: value for seed, value in results.of(part, arm, PRIMARY).items() if seed in seeds
        }
        difference = Difference.of(own, baseline(results, "main"))
        if difference is not None:
            whisker(axes, dose, difference, color="C0")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("experts with misplaced gaze, %")
    axes.set_ylabel("macro AUROC minus that of duplicate")
    return figure


def draw_shares(results: Results) -> Figure:
    """Draws each arm against duplicate at the same fraction of experts, on the same seeds."""
    seeds = results.of("shares", "duplicate at 1 %", PRIMARY).keys()
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for shift, arm in enumerate(("shuffled_gaze", "eclip")):
        for share in (1, 5, 10):
            difference = Difference.of(
                _at(results, arm, share, seeds), _at(results, "duplicate", share, seeds)
            )
            if difference is not None:
                label = arm if share == 1 else None
                whisker(axes, share + 0.2 * shift, difference, color=f"C{shift}", label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([1, 5, 10])
    axes.set_xlabel("experts, % of the training studies")
    axes.set_ylabel("macro AUROC minus that of duplicate")
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    return figure


def _at(results: Results, arm: str, share: int, seeds: Collection[int]) -> BySeed:
    """Returns an arm at some percentage of experts, on some of the seeds; `main` has 5 %."""
    at = ("main", arm) if share == 5 else ("shares", f"{arm} at {share} %")
    values = results.of(*at, PRIMARY)
    return {seed: value for seed, value in values.items() if seed in seeds}
