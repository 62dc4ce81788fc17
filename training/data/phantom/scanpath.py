"""Draws the fixations of a synthetic reader who moves as a real radiologist was measured to move.

The numbers are fitted to the gaze of one radiologist (`training.data.sources.siim_acr`) by
`training.data.reader_check`, which compares the two. That recording names no findings. So the share
of a reading that goes to findings, and how far from them visits fall, are assumed, as in
`training.data.phantom.gaze`.
"""

from dataclasses import dataclass

import numpy as np

from training.data.phantom.canvas import Array, Pose
from training.data.phantom.findings import PhantomFinding
from training.data.phantom.gaze import DRIFT, SHARE, SURVEY, SURVEY_NOISE, TOTAL, near
from training.data.study import Gaze


@dataclass(frozen=True)
class Habits:
    """How a reader moves. A visit is a run of fixations at one place.

    fixations: (least, mean, deviation): least + a log-normal number with these of its logarithm.
    dwell: (mean, shape): what a fixation lasts beyond the shortest, in units of the shortest, is
    Poisson; its mean varies over images as a gamma distribution. visit: mean number of fixations of
    a visit, which is geometric. scatter: (median, deviation of the logarithm) over visits of their
    fixations' standard deviation around the place, in body coordinates.
    """

    fixations: tuple[int, float, float] = (9, 3.25, 0.68)
    dwell: tuple[float, float] = (0.27, 8.0)
    visit: float = 2.5
    scatter: tuple[float, float] = (0.035, 1.0)


MEASURED = Habits()


def draw_scanpath(
    rng: np.random.Generator,
    findings: tuple[PhantomFinding, ...],
    pose: Pose,
    habits: Habits = MEASURED,
) -> Gaze:
    """Draws visits along the survey, 60–75 % of them to findings instead, and their fixations."""
    least, mean, deviation = habits.fixations
    count = least + int(rng.lognormal(mean, deviation))
    lengths = rng.geometric(1.0 / habits.visit, count)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), count) + 1]
    median, spread = habits.scatter
    scatter = rng.lognormal(np.log(median), spread, len(lengths))
    places = _places(rng, findings, len(lengths)) + rng.normal(0.0, DRIFT, 2)
    visit = np.repeat(np.arange(len(lengths)), lengths)[:count]
    points = places[visit] + scatter[visit, None] * rng.standard_normal((count, 2))
    x, y = np.clip(pose.to_image(points), 0.0, 1.0).T
    longer, shape = habits.dwell
    dwell = 1.0 + rng.poisson(rng.gamma(shape, longer / shape), count)
    duration = rng.uniform(*TOTAL) * dwell / dwell.sum()
    return Gaze(tuple(x.tolist()), tuple(y.tolist()), tuple(duration.tolist()))


def _places(rng: np.random.Generator, findings: tuple[PhantomFinding, ...], count: int) -> Array:
    """Draws the places of the visits, in their order: float64[count, 2]."""
    stations = np.arange(len(SURVEY))
    at = np.sort(rng.uniform(0.0, stations[-1], count))
    places = np.stack([np.interp(at, stations, SURVEY[:, axis]) for axis in (0, 1)], axis=1)
    places += rng.normal(0.0, SURVEY_NOISE, places.shape)
    if findings:
        share = rng.uniform(*SHARE)
        emphasis = share * rng.dirichlet(np.full(len(findings), 3.0))
        looked_at = rng.choice(len(findings) + 1, count, p=[*emphasis, 1.0 - share])
        for number, finding in enumerate(findings):
            visits = looked_at == number
            places[visits] = near(rng, finding, int(visits.sum()))
    return places
