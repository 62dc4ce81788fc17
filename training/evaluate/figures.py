"""Draws the figures of one measure, as PNG."""

import io
from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluate.result import MapExample, Measurement

DPI = 110
MAPS = (
    "Maps on the first lesion of each finding, or else on the first studies with gaze; outlined: "
    "the lesion, or what readers looked at"
)
_COLOURS = {"image": "#1f6f8b", "report": "#d1603d", "calibrated": "#1f6f8b"}
_OTHER = "#8a8a8a"


def figures(section: Measurement) -> Iterator[tuple[str, bytes]]:
    """Yields (caption, PNG) of everything in a measurement that can be drawn."""
    if any("auroc_present" in row for row in section.by_label.values()):
        yield "AUROC by present prompts, 95 % interval; dashed: chance", _drawn(section, _aurocs)
    if _curves(section, "reliability/"):
        yield (
            "Reliability: predicted against observed, all labels together",
            _drawn(section, _reliability),
        )
    if any(name.startswith("linear_probe/") for name in section.values):
        yield "Linear probe: macro AUROC by share of the training patients", _drawn(section, _probe)
    if _curves(section, "plane/"):
        yield "Images and reports on their two principal components", _drawn(section, _plane)
    if section.examples:
        yield MAPS, maps_figure(section.examples)


def maps_figure(examples: Sequence[MapExample]) -> bytes:
    """Returns a PNG with a row for each example: the image, then each of its maps on it.

    The region is outlined. Each map's colours run from its own least to its own highest value.
    """
    kinds = list(dict.fromkeys(kind for example in examples for kind in example.maps))
    size = (1.7 * (1 + len(kinds)), 1.8 * len(examples))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(examples), 1 + len(kinds), squeeze=False)
    for row, example in zip(grid, examples, strict=True):
        for axes, kind in zip(row, (None, *kinds), strict=True):
            _map(axes, example, kind)
            axes.set_title(f"{kind} map" if kind else example.title, fontsize=8)
    return _png(figure)


def _map(axes: Axes, example: MapExample, kind: str | None) -> None:
    axes.set_axis_off()
    axes.imshow(example.image, cmap="gray", vmin=0, vmax=255)
    if kind in example.maps:
        axes.imshow(example.maps[kind], cmap="inferno", alpha=0.5)
    axes.contour(example.inside, [0.5], colors="#39c5cf", linewidths=1)


def _drawn(section: Measurement, draw: Callable[[Axes, Measurement], None]) -> bytes:
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    draw(figure.subplots(), section)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return png.getvalue()


def _aurocs(axes: Axes, section: Measurement) -> None:
    rows = {label: row["auroc_present"] for label, row in reversed(section.by_label.items())}
    for height, auroc in enumerate(rows.values()):
        if auroc.low is not None and auroc.high is not None:
            axes.plot([auroc.low, auroc.high], [height, height], color=_OTHER, linewidth=2)
        axes.plot(auroc.value, height, "o", color=_COLOURS["image"])
    axes.axvline(0.5, linestyle="--", color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlim(0, 1)


def _reliability(axes: Axes, section: Measurement) -> None:
    axes.plot([0, 1], [0, 1], "--", color="black", linewidth=0.8)
    for name, points in _curves(section, "reliability/").items():
        axes.plot(*zip(*points, strict=True), "o-", label=name, color=_COLOURS.get(name, _OTHER))
    axes.set(xlabel="mean probability", ylabel="fraction with the finding")
    axes.legend()


def _probe(axes: Axes, section: Measurement) -> None:
    probes = {n: e for n, e in section.values.items() if n.startswith("linear_probe/")}
    spread = [probe.sd or 0.0 for probe in probes.values()]
    values = [probe.value for probe in probes.values()]
    axes.errorbar(range(len(probes)), values, spread, fmt="o-", color=_COLOURS["image"], capsize=4)
    axes.axhline(0.5, linestyle="--", color="black", linewidth=0.8)
    axes.set_xticks(range(len(probes)), [name.split("/")[1] for name in probes])
    axes.set(xlabel="training patients", ylabel="macro AUROC, ± sd of draws")


def _plane(axes: Axes, section: Measurement) -> None:
    for name, points in _curves(section, "plane/").items():
        across, up = zip(*points, strict=True)
        axes.scatter(across, up, s=6, alpha=0.5, label=name, color=_COLOURS[name])
    axes.legend()


def _curves(section: Measurement, prefix: str) -> dict[str, list[list[float]]]:
    return {
        name.removeprefix(prefix): points
        for name, points in section.points.items()
        if name.startswith(prefix)
    }
