"""Draws what a patient has: findings, and perhaps the shortcut's marker."""

import numpy as np

from training.data.phantom.findings import (
    GLOBAL,
    LABELS,
    LEVELS,
    LEVELS_OF,
    SEVERITIES,
    SIDES,
    ZONES,
    PhantomFinding,
    Severity,
    possible_zones,
)

SHORTCUT_LABEL = "pneumothorax"
"""The label that the corner marker may reveal."""


def draw_findings(rng: np.random.Generator, normal: float) -> tuple[PhantomFinding, ...]:
    """Draws no finding, or one to three of distinct labels in distinct zones."""
    if rng.random() < normal:
        return ()
    labels = rng.choice(LABELS, size=rng.choice([1, 2, 3], p=[0.5, 0.32, 0.18]), replace=False)
    free = list(ZONES)
    findings = []
    for label in sorted(map(str, labels), key=lambda label: (label not in LEVELS_OF, label)):
        severity = SEVERITIES[rng.integers(3)]
        zone = None if label in GLOBAL else str(rng.choice(possible_zones(label, free)))
        if zone is not None:
            free.remove(zone)
        findings.append(_place(rng, label, severity, zone))
    return tuple(findings)


def _place(
    rng: np.random.Generator, label: str, severity: Severity, zone: str | None
) -> PhantomFinding:
    grade = SEVERITIES.index(severity)
    if zone is None:
        where = {"cardiomegaly": (0.05, 0.64, 0.15, 0.10), "pulmonary edema": (0.0, 0.46, 0.2, 0.1)}
        return PhantomFinding(label, severity, None, *where[label])
    side, level = SIDES[zone.split()[0]], zone.split()[1]
    u, v = {"upper": 0.18, "mid": 0.21, "lower": 0.235}[level], LEVELS[level]
    drift_u, drift_v, stretch = rng.uniform(-1.0, 1.0, 3)
    size = (1.0 + 0.15 * stretch) * (0.92, 1.04, 1.18)[grade]
    match label:
        case "pleural effusion":
            u, v, reach = 0.25, 0.69 - 0.035 * grade, (0.08, 0.06 + 0.025 * grade)
        case "pneumothorax":
            u, v, reach = 0.21, 0.20, (0.09, 0.07)
        case _:
            u, v = u + 0.025 * drift_u, v + 0.025 * drift_v
            reach = {
                "atelectasis": (0.12, 0.08),
                "consolidation": (0.12, 0.105),
                "fibrosis": (0.12, 0.11),
                "nodule": (0.062, 0.062),
            }[label]
    return PhantomFinding(label, severity, zone, side * u, v, size * reach[0], size * reach[1])


def draw_marker(
    rng: np.random.Generator, findings: tuple[PhantomFinding, ...], shortcut: float | None
) -> bool:
    """Draws whether the corner marker is there: it agrees with the label with chance `shortcut`."""
    agrees = rng.random()
    if shortcut is None:
        return False
    present = any(finding.label == SHORTCUT_LABEL for finding in findings)
    return present if agrees < shortcut else not present
