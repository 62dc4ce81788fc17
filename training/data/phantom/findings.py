"""Defines the findings of phantoms, and the zones of the lungs that they lie in."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Severity = Literal["mild", "moderate", "severe"]

LABELS: tuple[str, ...] = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "fibrosis",
    "nodule",
    "pleural effusion",
    "pneumothorax",
    "pulmonary edema",
)
GLOBAL: frozenset[str] = frozenset({"cardiomegaly", "pulmonary edema"})
"""Labels of the whole chest, which occupy no zone."""
SEVERITIES: tuple[Severity, ...] = ("mild", "moderate", "severe")

SIDES = {"right": -1.0, "left": 1.0}
"""The sign of u on each side of the patient."""
LEVELS = {"upper": 0.28, "mid": 0.45, "lower": 0.62}
"""The height v of each level of a lung."""
ZONES = tuple(f"{side} {level}" for side in SIDES for level in LEVELS)
LEVELS_OF = {
    "atelectasis": ("mid", "lower"),
    "pleural effusion": ("lower",),
    "pneumothorax": ("upper",),
}
"""The levels of labels that do not occur at every one."""


@dataclass(frozen=True)
class PhantomFinding:
    """A reported finding.

    zone: for example "right upper"; None if it is global. u, v and reach_u, reach_v: its centre and
    half-extent in body coordinates.
    """

    label: str
    severity: Severity
    zone: str | None
    u: float
    v: float
    reach_u: float
    reach_v: float

    @property
    def side(self) -> float:
        """-1 on the patient's right (the image left), 1 on the left."""
        return float(np.sign(self.u))


def possible_zones(label: str, free: list[str]) -> list[str]:
    """Returns the free zones where the label can be."""
    levels = LEVELS_OF.get(label, tuple(LEVELS))
    return [zone for zone in free if zone.split()[1] in levels]
