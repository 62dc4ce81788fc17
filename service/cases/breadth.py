"""Says how broadly a search looks through a graph of vectors: broader is surer and slower."""

from dataclasses import dataclass

ACORN_UNDER = 0.95
"""Share of the points: a filter that passes fewer is searched by ACORN, which also follows links of
links (docs/decisions/filtered-search.md). One that leaves out a patient passes more."""
_FILTERED_EF = 128
"""Candidates under a filter, at least."""


@dataclass(frozen=True, slots=True)
class Breadth:
    """How broadly a graph is searched."""

    ef: int
    """Candidates that the search keeps."""
    oversampling: float
    """Candidates for each wanted hit that are found by small vectors (int8) and then scored by the
    stored ones. Where an engine keeps no small vectors this changes nothing."""

    def filtered(self) -> "Breadth":
        """Returns the breadth of a search under a filter: twice as many candidates."""
        return Breadth(max(2 * self.ef, _FILTERED_EF), self.oversampling)


LADDER = (
    *(Breadth(ef, 1.5) for ef in (16, 24, 32, 48)),
    *(Breadth(ef, 2) for ef in (64, 96, 128, 192)),
    *(Breadth(ef, 3) for ef in (256, 384, 512)),
)
"""The breadths from which `service.cases.calibration` chooses, from the fastest to the surest."""
SUREST = LADDER[-1]
"""The breadth of a library that was not measured."""
