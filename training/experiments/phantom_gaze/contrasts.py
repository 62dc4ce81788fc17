"""Says which arms are compared, and on which measures."""

from collections.abc import Iterator

from training.experiments.differences import BySeed, Compared, Difference
from training.experiments.results import Results

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
"""The contrasts of PREREGISTRATION.md: (part, metric, pairs that are corrected together)."""
BASELINES = {
    "secondary": "main",
    "doses": "main",
    "shares": "main",
    "guidance_secondary": "guidance",
}
"""Part → the part whose `duplicate` is its control, on the same seeds."""


def baseline(results: Results, part: str, metric: str = PRIMARY) -> BySeed:
    """Returns the `duplicate` that the arms of a part are compared with."""
    return results.of(BASELINES.get(part, part), "duplicate", metric)


def compared(results: Results, metric: str = PRIMARY) -> Iterator[Compared]:
    """Yields every arm's difference from `duplicate` on the seeds that both have."""
    for part, arm in results.arms():
        share = arm.partition(" at ")[2]
        control = (
            results.of(part, f"duplicate at {share}", metric)
            if share
            else baseline(results, part, metric)
        )
        if not arm.startswith("duplicate at") and arm != "duplicate":
            difference = Difference.of(results.of(part, arm, metric), control)
            if difference is not None:
                yield part, arm, difference
