"""Draws the figures of the experiment from its results."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student

from training.experiments.differences import BySeed, Difference
from training.experiments.figures import whisker
from training.experiments.phantom_localisation.contrasts import (
    GAZE,
    LEVELS,
    PLAIN,
    PRIMARY,
    PRIORS,
    SHUFFLED,
    at_dose,
    at_share,
)
from training.experiments.phantom_localisation.protocol import MAIN, OTHERS
from training.experiments.results import Results

POINTING = "pointing game"


def draw_arms(results: Results) -> Figure:
    """Draws pointing of each measured arm, a dot a seed, with 95 % intervals; priors as lines."""
    parts = (("main", MAIN), ("others", OTHERS))
    found = {arm: results.of(name, arm, PRIMARY) for name, part in parts for arm in part.arms}
    arms = {arm: values for arm, values in found.items() if values}
    figure, axes = _figure(8, 4.5)
    rng = np.random.default_rng(0)
    for place, values in enumerate(arms.values()):
        axes.plot(
            place + rng.uniform(-0.2, 0.2, len(values)), list(values.values()), ".", color="0.7"
        )
        _mean(axes, place, values, "C0")
    axes.set_xticks(
        range(len(arms)), [f"{a}\nn = {len(v)}" for a, v in arms.items()], rotation=30, ha="right"
    )
    for color, (prior, name) in zip(("C1", "C2"), PRIORS.items(), strict=True):
        blind = list(results.of("main", GAZE, f"prior/{prior}/pointing_game").values())
        if blind:
            axes.axhline(
                float(np.mean(blind)), color=color, linestyle="--", linewidth=1, label=name
            )
    _finish(axes)
    return figure


def draw_doses(results: Results) -> Figure:
    """Draws pointing as more of the gaze is misplaced, a line a seed."""
    doses = {level: at_dose(results, level) for level in LEVELS}
    figure, axes = _figure(6, 4)
    for seed in sorted({seed for dose in doses.values() for seed in dose}):
        points = [(level, dose[seed]) for level, dose in doses.items() if seed in dose]
        axes.plot(*zip(*points, strict=True), color="0.8", linewidth=1)
    for level, values in doses.items():
        _mean(axes, level, values, "C0")
    axes.set_xticks(LEVELS)
    axes.set_xlabel("experts with misplaced gaze, %")
    _finish(axes)
    return figure


def draw_shares(results: Results) -> Figure:
    """Draws gaze_attention against both controls with 1, 5 and 10 % of experts."""
    figure, axes = _figure(6, 4)
    for color, control in (("C0", PLAIN), ("C1", SHUFFLED)):
        for share in (1, 5, 10):
            pair = (at_share(results, arm, share) for arm in (GAZE, control))
            difference = Difference.of(*pair)
            if difference is not None:
                shift = 0.2 * (control == SHUFFLED)
                label = f"{GAZE} − {control}" if share == 1 else None
                whisker(axes, share + shift, difference, color, label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([1, 5, 10])
    axes.set_xlabel("experts, % of the training studies")
    axes.set_ylabel("difference in the pointing game")
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _mean(axes: Axes, place: float, values: BySeed, color: str) -> None:
    """Draws a mean with its 95 % t interval, of two seeds or more."""
    if len(values) > 1:
        each = np.array(list(values.values()))
        half = student.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
        axes.errorbar(place, each.mean(), half, fmt="o", color=color, capsize=4)


def _finish(axes: Axes) -> None:
    axes.set_ylim(0, 1)
    axes.set_ylabel(POINTING)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
