"""Says which arms are compared, and on which measures, as PREREGISTRATION.md does."""

from collections.abc import Iterator, Sequence

import numpy as np

from training.experiments.differences import BySeed, Compared, Difference
from training.experiments.phantom_localisation.protocol import DOSES, GUIDED
from training.experiments.results import Results

PRIMARY = "map/attention/pointing_game"
AUROC = "auroc_present/macro"
DISTRACTOR = "distractor/density_off_lesion"
MEASURES = {
    PRIMARY: "pointing",
    "map/attention/pixel_auc": "AUC",
    "map/attention/energy_inside": "energy",
    "map/attention/iou": "IoU",
    "map/attention/pointing_game/small": "pointing, small",
    "map/attention/pointing_game/large": "pointing, large",
    "map/attention/pixel_auc/small": "AUC, small",
    "map/attention/pixel_auc/large": "AUC, large",
    "map/text/pointing_game": "text: pointing",
    "map/text/pixel_auc": "text: AUC",
    "map/last_token/pointing_game": "last token: pointing",
    "map/last_token/pixel_auc": "last token: AUC",
    DISTRACTOR: "distractors",
    "distractor/pointing_game": "distractors: pointing",
    AUROC: "AUROC",
    "auroc_margin/macro": "margin AUROC",
}
"""Metric → its heading."""
PRIORS = {"centre": "a Gaussian in the middle", "mean_gaze": "the mean gaze of the experts"}
PLAIN, SHUFFLED, GAZE = GUIDED
QUESTIONS = (("main", PRIMARY, ((GAZE, SHUFFLED), (GAZE, PLAIN))),)
"""The two contrasts of PREREGISTRATION.md, corrected together."""
LEVELS = (0, 25, 50, 75, 100)
"""Percent of the experts' gaze that is misplaced."""


def compared(results: Results, metric: str) -> Iterator[Compared]:
    """Yields every arm's difference from duplicate_always on the seeds that both have."""
    for part, arm in results.arms():
        share = arm.partition(" at ")[2]
        control = (part, f"{PLAIN} at {share}") if share else ("main", PLAIN)
        difference = Difference.of(results.of(part, arm, metric), results.of(*control, metric))
        if (part, arm) != control and difference is not None:
            yield part, arm, difference


def from_shuffled(results: Results) -> list[tuple[str, Difference]]:
    """Returns gaze_attention − shuffled_attention on each measure that was taken."""
    found = []
    for metric in MEASURES:
        pair = (results.of("main", arm, metric) for arm in (GAZE, SHUFFLED))
        difference = Difference.of(*pair)
        if difference is not None:
            found.append((metric, difference))
    return found


def above_prior(results: Results, measure: str, prior: str) -> Difference | None:
    """Returns gaze_attention's attention map minus a prior, in one measure of pointing."""
    ours = results.of("main", GAZE, f"map/attention/{measure}")
    return Difference.of(ours, results.of("main", GAZE, f"prior/{prior}/{measure}"))


def at_dose(results: Results, level: int, metric: str = PRIMARY) -> BySeed:
    """Returns gaze_attention with some percent of its gaze misplaced, on the seeds of `doses`."""
    arms = {0: ("main", GAZE), 100: ("main", SHUFFLED)}
    at = arms.get(level, ("doses", f"{GAZE}, {level} % misplaced"))
    return {s: value for s, value in results.of(*at, metric).items() if s in DOSES.seeds}


def at_share(results: Results, arm: str, share: int, metric: str = PRIMARY) -> BySeed:
    """Returns an arm with some percent of experts, on the seeds of `doses`; `main` has 5 %."""
    at = ("main", arm) if share == 5 else ("shares", f"{arm} at {share} %")
    return {s: value for s, value in results.of(*at, metric).items() if s in DOSES.seeds}


def slope(results: Results) -> Difference | None:
    """Returns the slope of pointing on the fraction of misplaced gaze, against none.

    It is fitted by least squares to each seed that has all doses.
    """
    doses = [at_dose(results, level) for level in LEVELS]
    seeds = sorted(set.intersection(*(set(dose) for dose in doses)))
    slopes = {seed: _slope([dose[seed] for dose in doses]) for seed in seeds}
    return Difference.of(slopes, dict.fromkeys(seeds, 0.0))


def _slope(values: Sequence[float]) -> float:
    return float(np.polyfit(np.array(LEVELS) / 100, values, 1)[0])
