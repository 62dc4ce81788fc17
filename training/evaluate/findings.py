"""Tabulates which findings the studies have, and which are unknown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from service.arrays import Bools
from training.data.labels import is_labelled, uncertain
from training.data.study import ManifestStudy


@dataclass(frozen=True)
class Findings:
    """The findings of N studies for L labels.

    there, known: bool[N,L]. What is not known is not there.
    """

    labels: tuple[str, ...]
    there: Bools
    known: Bools

    @classmethod
    def of(cls, studies: Sequence[ManifestStudy], labels: Iterable[str]) -> Self:
        """Returns the table of these studies.

        Unknown are uncertain labels, and every label of a study that nobody labelled.
        """
        names = tuple(labels)
        shape = (len(studies), len(names))
        there = [label in (study.findings or ()) for study in studies for label in names]
        known = [
            is_labelled(study) and label not in uncertain(study)
            for study in studies
            for label in names
        ]
        return cls(
            names, np.array(there, bool).reshape(shape), np.array(known, bool).reshape(shape)
        )

    def answered(self, label: int) -> bool:
        """Returns whether some studies have a label and some do not, so that it can be measured."""
        there = self.there[self.known[:, label], label]
        return bool(there.any() and not there.all())

    def unanswered(self) -> tuple[str, ...]:
        """Returns a note on the labels that these studies cannot measure; () if there are none."""
        names = [name for at, name in enumerate(self.labels) if not self.answered(at)]
        return (f"not measured, as all or none of the studies have it: {', '.join(names)}",) * bool(
            names
        )

    def at(self, rows: npt.NDArray[np.intp] | Bools) -> Self:
        """Returns the table of some of the studies."""
        return type(self)(self.labels, self.there[rows], self.known[rows])
