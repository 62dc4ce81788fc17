"""Draws intervals into figures."""

from matplotlib.axes import Axes

from training.experiments.differences import Difference


def whisker(
    axes: Axes, place: float, difference: Difference, color: str, label: str | None = None
) -> None:
    """Draws a difference's mean and 95 % t interval."""
    spread = [[difference.mean - difference.low], [difference.high - difference.mean]]
    axes.errorbar(place, difference.mean, spread, fmt="o", color=color, capsize=3, label=label)
