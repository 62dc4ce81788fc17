"""Draws the fixations of a synthetic reader who follows a survey, and what its readings assume."""

import numpy as np

from training.data.phantom.canvas import Array, Pose
from training.data.phantom.findings import PhantomFinding
from training.data.study import Gaze

SURVEY = np.array(
    [
        [0.00, 0.08], [0.00, 0.22], [-0.36, 0.14], [-0.18, 0.19], [-0.16, 0.33], [-0.25, 0.42],
        [-0.12, 0.46], [-0.22, 0.58], [-0.40, 0.55], [-0.27, 0.72], [-0.18, 0.86], [-0.08, 0.66],
        [0.00, 0.82], [0.05, 0.60], [0.14, 0.68], [0.17, 0.87], [0.28, 0.72], [0.40, 0.55],
        [0.24, 0.58], [0.12, 0.45], [0.25, 0.41], [0.17, 0.32], [0.18, 0.19], [0.36, 0.14],
        [0.04, 0.34], [0.02, 0.48],
    ]
)  # fmt: skip
"""Places of a systematic reading, in their order: body coordinates, float64[26, 2]."""
SURVEY_NOISE = 0.03
"""Standard deviation of a fixation from its place of the survey, in body coordinates."""
DRIFT = 0.045
"""Standard deviation of an eye tracker's error in one reading, in body coordinates."""
SHARE = (0.6, 0.75)
"""Range of the share of a reading that goes to findings, if there are any."""
TOTAL = (6_000.0, 14_000.0)
"""Range of milliseconds that a reading takes."""


def draw_gaze(rng: np.random.Generator, findings: tuple[PhantomFinding, ...], pose: Pose) -> Gaze:
    """Draws a survey of the film, with dwells on each finding for 60–75 % of the time in all."""
    drift = rng.normal(0.0, DRIFT, 2)
    survey = SURVEY + rng.normal(0.0, SURVEY_NOISE, SURVEY.shape)
    points, times = [survey], [np.linspace(0.0, 1.0, len(survey))]
    weights = [rng.gamma(1.5, 1.0, len(survey))]
    share = rng.uniform(*SHARE) if findings else 0.0
    weights[0] *= (1.0 - share) / weights[0].sum()
    emphasis = rng.dirichlet(np.full(len(findings), 3.0)) if findings else ()
    for finding, part in zip(findings, emphasis, strict=True):
        visits = near(rng, finding, int(rng.integers(6, 12)))
        dwell = rng.gamma(2.0, 1.0, len(visits))
        points.append(visits)
        times.append(rng.uniform(0.1, 0.9) + np.linspace(0.0, 0.04, len(visits)))
        weights.append(dwell * part * share / dwell.sum())
    order = np.argsort(np.concatenate(times))
    x, y = np.clip(pose.to_image(np.concatenate(points)[order] + drift), 0.0, 1.0).T
    total = rng.uniform(*TOTAL)
    duration = total * np.concatenate(weights)[order]
    return Gaze(tuple(x.tolist()), tuple(y.tolist()), tuple(duration.tolist()))


def near(rng: np.random.Generator, finding: PhantomFinding, count: int) -> Array:
    """Draws places scattered over a finding, or in one case of seven near it: float64[count, 2]."""
    reach = np.array([finding.reach_u, finding.reach_v])
    scatter = np.hypot(0.4 * reach, 0.05) * rng.standard_normal((count, 2))
    stray = (rng.random() < 1.0 / 7.0) * rng.normal(0.0, 0.16, 2)
    return np.array([finding.u, finding.v]) + scatter + stray
