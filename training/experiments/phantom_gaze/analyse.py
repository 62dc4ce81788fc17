"""From results.parquet to tables and figures: differences between arms, paired by seed.

python -m training.experiments.phantom_gaze.analyse [--results FILE] [--out DIR]
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import bootstrap, permutation_test, ttest_rel

from training.experiments.phantom_gaze.protocol import PROTOCOL
from training.experiments.phantom_gaze.run import RESULTS

PRIMARY = "auroc_present/macro"
PROBE, PROBE_10 = "linear_probe/100%", "linear_probe/10%"
SECONDARY = {
    PRIMARY: "AUROC",
    "auroc_margin/macro": "margin AUROC",
    "single_label/macro_f1": "F1",
    "recall@5/image-to-report": "R@5 i→r",
    "recall@5/report-to-image": "R@5 r→i",
    "precision@10/image-to-report": "P@10",
    "linear_probe/1%": "probe 1 %",
    PROBE_10: "probe 10 %",
    PROBE: "probe 100 %",
    "alignment": "alignment",
    "uniformity/image": "uniformity",
    "modality_gap": "gap",
}
GUIDED = tuple(
    ("gaze_attention", control)
    for control in ("duplicate", "shuffled_attention", "duplicate_always")
)
QUESTIONS = (
    ("main", PRIMARY, (("eclip", "duplicate"), ("eclip", "shuffled_gaze"))),
    (
        "main",
        PRIMARY,
        (("eclip_primed", "duplicate"), ("eclip_primed", "shuffled_gaze_primed")),
    ),
    ("guidance", PRIMARY, GUIDED),
    ("confirmation", PRIMARY, GUIDED),
    ("confirmation", PROBE, GUIDED),
    ("replication", PRIMARY, GUIDED),
    ("replication", PROBE_10, GUIDED),
)
"""The contrasts of PREREGISTRATION.md: (part, metric, pairs corrected together)."""
BASELINES = {
    "secondary": "main",
    "doses": "main",
    "shares": "main",
    "guidance_secondary": "guidance",
}
"""Parts whose `duplicate` is another part's, on the same seeds."""
COLUMNS = (
    "n", "difference", "95 % t interval", "95 % bootstrap", "p (t)", "p (Holm)", "p (flips)",
)  # fmt: skip
"""What `_cells` are."""
TABLES, ARMS, DOSES, SHARES = "tables.md", "arms.png", "doses.png", "shares.png"
RESAMPLES = 9999
Floats = npt.NDArray[np.float64]
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Difference:
    """One arm minus another over the seeds that both have."""

    n: int
    mean: float
    low: float
    high: float
    """95 % t interval."""
    bootstrap: tuple[float, float]
    """95 % percentile bootstrap, which is too narrow for few seeds."""
    t: float
    """p of the paired t test."""
    flips: float
    """p of the sign-flip permutation test."""

    @classmethod
    def of(cls, arm: BySeed, control: BySeed) -> Self | None:
        """Paired by seed; None below two seeds."""
        seeds = sorted(arm.keys() & control.keys())
        if len(seeds) < 2:
            return None
        ours, theirs = (np.array([one[seed] for seed in seeds]) for one in (arm, control))
        test = ttest_rel(ours, theirs)
        flips = permutation_test(
            (ours - theirs,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=0
        )
        return cls(
            n=len(seeds),
            mean=float(np.mean(ours - theirs)),
            low=float(test.confidence_interval().low),
            high=float(test.confidence_interval().high),
            bootstrap=resampled(ours - theirs),
            t=float(test.pvalue),
            flips=float(flips.pvalue),
        )


class Results:
    """Every arm, seed and metric that was run."""

    def __init__(self, path: Path) -> None:
        self._values: dict[tuple[str, str, str], dict[int, float]] = {}
        for row in pq.read_table(path).to_pylist():
            key = row["part"], row["arm"], row["metric"]
            self._values.setdefault(key, {})[row["seed"]] = row["value"]

    def arms(self) -> list[tuple[str, str]]:
        """(part, arm) of all that was run."""
        return sorted({(part, arm) for part, arm, _ in self._values})

    def of(self, part: str, arm: str, metric: str = PRIMARY) -> BySeed:
        """Seed → value; empty where nothing was run or measured."""
        return self._values.get((part, arm, metric), {})

    def baseline(self, part: str, metric: str = PRIMARY) -> BySeed:
        """The `duplicate` that the arms of a part are compared with."""
        return self.of(BASELINES.get(part, part), "duplicate", metric)


def main(
    results: Annotated[Path, typer.Option(exists=True, dir_okay=False)] = RESULTS,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the tables and figures")
    ] = RESULTS.parent,
) -> None:
    """Write tables.md, arms.png, doses.png and shares.png."""
    found = Results(results)
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLES).write_text("\n".join(tables(found)) + "\n", encoding="utf-8")
    draw_arms(found).savefig(out / ARMS, dpi=110)
    draw_doses(found).savefig(out / DOSES, dpi=110)
    draw_shares(found).savefig(out / SHARES, dpi=110)


def resampled(values: Floats) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean of float64[n]."""
    drawn = bootstrap((values,), np.mean, method="percentile", n_resamples=RESAMPLES, rng=0)
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def holm(p: Sequence[float]) -> list[float]:
    """P values corrected for being a family (Holm 1979)."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return [float(one) for one in corrected]


def tables(found: Results) -> Iterator[str]:
    """Markdown: the pre-registered contrasts, every arm against duplicate, every measure."""
    yield "An n of fewer seeds than planned is an interim result.\n"
    yield "## Pre-registered contrasts\n"
    yield from _questions(found)
    yield "\n## Every arm against `duplicate`, zero-shot macro AUROC (present-only)\n"
    yield "Holm's correction is over this table.\n"
    yield from _against_duplicate(found)
    yield "\n## Every measure, mean over seeds\n"
    yield from _measures(found)
    yield "\n## Every measure, difference from `duplicate` on the seeds that both have\n"
    yield "`*`: corrected p < .05, over the arms of a measure.\n"
    yield from _measures_against_duplicate(found)
    yield "\n## Priming: MSE(I, P(I, 1)) over the variance of I, last priming step\n"
    yield from _priming(found)


def draw_arms(found: Results) -> Figure:
    """Each arm's difference from its part's duplicate."""
    compared = [(part, arm, one) for part, arm, one in _compared(found) if part != "shares"]
    figure = Figure(figsize=(2 + 0.35 * len(compared), 5.5), layout="constrained")
    axes = figure.subplots()
    for place, (_, _, one) in enumerate(compared):
        _whisker(axes, place, one, color="C0")
    names = [f"{arm} ({part}, n = {one.n})" for part, arm, one in compared]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("macro AUROC minus that of duplicate")
    return figure


def draw_doses(found: Results) -> Figure:
    """What is left of eclip as its gaze is misplaced."""
    seeds = found.of("doses", "eclip, 50 % misplaced").keys()
    arms = [("main", "eclip")]
    arms += [("doses", f"eclip, {dose} % misplaced") for dose in (25, 50, 75)]
    arms += [("main", "shuffled_gaze")]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for dose, (part, arm) in zip((0, 25, 50, 75, 100), arms, strict=True):
        own = {seed: value for seed, value in found.of(part, arm).items() if seed in seeds}
        one = Difference.of(own, found.baseline("main"))
        if one is not None:
            _whisker(axes, dose, one, color="C0")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel("experts with misplaced gaze, %")
    axes.set_ylabel("macro AUROC minus that of duplicate")
    return figure


def draw_shares(found: Results) -> Figure:
    """Few experts and many: each arm against duplicate at the same share, on the same seeds."""
    seeds = found.of("shares", "duplicate at 1 %").keys()
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for shift, arm in enumerate(("shuffled_gaze", "eclip")):
        for share in (1, 5, 10):
            one = Difference.of(
                _at(found, arm, share, seeds), _at(found, "duplicate", share, seeds)
            )
            if one is not None:
                label = arm if share == 1 else None
                _whisker(axes, share + 0.2 * shift, one, color=f"C{shift}", label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([1, 5, 10])
    axes.set_xlabel("experts, % of the training studies")
    axes.set_ylabel("macro AUROC minus that of duplicate")
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    return figure


def _at(found: Results, arm: str, share: int, seeds: Collection[int]) -> BySeed:
    """The arm at so many percent of experts, on some of the seeds; 5 % is what `main` has."""
    values = found.of("main", arm) if share == 5 else found.of("shares", f"{arm} at {share} %")
    return {seed: value for seed, value in values.items() if seed in seeds}


def _questions(found: Results) -> Iterator[str]:
    yield from _header("part", "measure", "contrast", *COLUMNS)
    for part, metric, pairs in QUESTIONS:
        compared = [
            Difference.of(found.of(part, a, metric), found.of(part, b, metric)) for a, b in pairs
        ]
        known = [one for one in compared if one is not None]
        corrected = iter(holm([one.t for one in known]))
        for (arm, control), one in zip(pairs, compared, strict=True):
            if one is not None:
                yield _row(
                    part,
                    SECONDARY[metric],
                    f"{arm} − {control}",
                    *_cells(part, one, next(corrected)),
                )


def _against_duplicate(found: Results) -> Iterator[str]:
    yield from _header("part", "arm", *COLUMNS)
    compared = list(_compared(found))
    for (part, arm, one), p in zip(compared, holm([one.t for *_, one in compared]), strict=True):
        yield _row(part, arm, *_cells(part, one, p))


def _compared(found: Results, metric: str = PRIMARY) -> Iterator[tuple[str, str, Difference]]:
    """Every arm but duplicate itself against duplicate, where both have seeds in common."""
    for part, arm in found.arms():
        share = arm.partition(" at ")[2]
        control = (
            found.of(part, f"duplicate at {share}", metric)
            if share
            else found.baseline(part, metric)
        )
        if not arm.startswith("duplicate at") and arm != "duplicate":
            one = Difference.of(found.of(part, arm, metric), control)
            if one is not None:
                yield part, arm, one


def _measures(found: Results) -> Iterator[str]:
    """Means over seeds."""
    yield from _header("part", "arm", "n", *SECONDARY.values())
    for part, arm in found.arms():
        means = (_mean(found.of(part, arm, metric)) for metric in SECONDARY)
        yield _row(part, arm, len(found.of(part, arm)), *means)


def _measures_against_duplicate(found: Results) -> Iterator[str]:
    """Paired differences; `*` where p, corrected over the arms of a measure, is below .05."""
    columns = {metric: list(_compared(found, metric)) for metric in SECONDARY}
    marked = {
        metric: dict(
            zip(((part, arm) for part, arm, _ in rows), _marked([d for *_, d in rows]), strict=True)
        )
        for metric, rows in columns.items()
    }
    yield from _header("part", "arm", "n", *SECONDARY.values())
    for part, arm, one in columns[PRIMARY]:
        yield _row(part, arm, one.n, *(marked[metric].get((part, arm), "") for metric in SECONDARY))


def _marked(compared: Sequence[Difference]) -> list[str]:
    corrected = holm([one.t for one in compared])
    return [
        f"{one.mean:+.3f}{'*' * (p < 0.05)}" for one, p in zip(compared, corrected, strict=True)
    ]


def _mean(values: BySeed) -> str:
    return f"{np.mean(list(values.values())):.3f}" if values else ""


def _priming(found: Results) -> Iterator[str]:
    yield from _header("part", "arm", "n", "mean", "highest")
    for part, arm in found.arms():
        values = list(found.of(part, arm, "priming").values())
        if values:
            yield _row(part, arm, len(values), f"{np.mean(values):.3f}", f"{max(values):.3f}")


def _cells(part: str, one: Difference, corrected: float) -> tuple[str, ...]:
    planned = len(PROTOCOL.parts[part].seeds)
    return (
        str(one.n) if one.n == planned else f"{one.n} of {planned}",
        f"{one.mean:+.4f}",
        f"{one.low:+.4f} to {one.high:+.4f}",
        "{:+.4f} to {:+.4f}".format(*one.bootstrap),
        f"{one.t:.2g}",
        f"{corrected:.2g}",
        f"{one.flips:.2g}",
    )


def _header(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield _row(*("---" for _ in names))


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _whisker(
    axes: Axes, place: float, one: Difference, color: str, label: str | None = None
) -> None:
    spread = [[one.mean - one.low], [one.high - one.mean]]
    axes.errorbar(place, one.mean, spread, fmt="o", color=color, capsize=3, label=label)


if __name__ == "__main__":
    typer.run(main)
