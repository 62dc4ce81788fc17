"""Writes the tables of the experiment as Markdown."""

from collections.abc import Iterator

from training.experiments.differences import Difference, holm
from training.experiments.phantom_localisation.contrasts import (
    GAZE,
    MEASURES,
    PLAIN,
    PRIMARY,
    PRIORS,
    QUESTIONS,
    SHUFFLED,
    above_prior,
    at_share,
    compared,
    from_shuffled,
    slope,
)
from training.experiments.phantom_localisation.protocol import DOSES, MAIN, PROTOCOL, READER
from training.experiments.results import Results
from training.experiments.tables import (
    COLUMNS,
    cells,
    contrasts,
    differences,
    header,
    matrix,
    means,
    row,
)


def tables(results: Results) -> Iterator[str]:
    """Yields Markdown: the registered contrasts first, then the secondary measures."""
    yield "An n of fewer seeds than planned is an interim result.\n"
    yield "## Registered contrasts\n"
    yield from contrasts(results, PROTOCOL, QUESTIONS, MEASURES)
    yield "\n## `gaze_attention` against maps that see no image\n"
    yield from _family("measure − prior", _above_priors(results), len(MAIN.seeds))
    yield "\n## Every arm against `duplicate_always`, pointing game\n"
    yield "Holm's correction is over this table.\n"
    yield from differences(PROTOCOL, compared(results, PRIMARY))
    yield "\n## Every measure, mean over seeds\n"
    yield "Distractors: attention on them over their share of the area, off the lesion.\n"
    yield from means(results, MEASURES)
    yield "\n## Every measure, difference from `duplicate_always` on the seeds that both have\n"
    yield "`*`: corrected p < .05, over the arms of a measure.\n"
    columns = {metric: list(compared(results, metric)) for metric in MEASURES}
    yield from matrix(columns, MEASURES)
    yield "\n## Every measure, `gaze_attention` − `shuffled_attention`\n"
    of_measures = [(MEASURES[metric], d) for metric, d in from_shuffled(results)]
    yield from _family("measure", of_measures, len(MAIN.seeds))
    yield "\n## Dose-response: slope of pointing, from no to all gaze misplaced\n"
    trend = slope(results)
    yield from _family("slope", [] if trend is None else [("pointing", trend)], len(DOSES.seeds))
    yield "\n## Shares of experts, pointing game\n"
    yield from _family("contrast", _shares(results), len(DOSES.seeds))
    yield "\n## Gaze as a real radiologist's, pointing game\n"
    yield from _family("contrast", _reader(results), len(READER.seeds))


def _above_priors(results: Results) -> list[tuple[str, Difference]]:
    rows = [
        (f"{heading} − {name}", above_prior(results, measure, prior))
        for measure, heading in (("pointing_game", "pointing"), ("pixel_auc", "AUC"))
        for prior, name in PRIORS.items()
    ]
    return [(name, difference) for name, difference in rows if difference is not None]


def _shares(results: Results) -> list[tuple[str, Difference]]:
    rows = []
    for share in (1, 5, 10):
        for control in (SHUFFLED, PLAIN):
            pair = (at_share(results, arm, share) for arm in (GAZE, control))
            rows.append((f"{GAZE} − {control} at {share} %", Difference.of(*pair)))
    return [(name, difference) for name, difference in rows if difference is not None]


def _reader(results: Results) -> list[tuple[str, Difference]]:
    """Returns the contrasts of the part `reader`."""
    arms = {
        f"{GAZE}, measured": ("reader", f"{GAZE}, measured reader"),
        f"{SHUFFLED}, measured": ("reader", f"{SHUFFLED}, measured reader"),
        f"{GAZE}, simulated": ("main", GAZE),
        PLAIN: ("main", PLAIN),
    }
    ours, *controls = ((name, results.of(*arm, PRIMARY)) for name, arm in arms.items())
    rows = [(f"{ours[0]} − {name}", Difference.of(ours[1], values)) for name, values in controls]
    return [(name, difference) for name, difference in rows if difference is not None]


def _family(heading: str, rows: list[tuple[str, Difference]], planned: int) -> Iterator[str]:
    """Yields a row for each difference, corrected together."""
    yield from header(heading, *COLUMNS)
    for (name, difference), p in zip(rows, holm([d.t for _, d in rows]), strict=True):
        yield row(name, *cells(difference, p, planned))
