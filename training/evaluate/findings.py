"""Tabulates which findings the studies have, and which are unknown."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from service.arrays import Bools
from training.data.labels import is_labelled, present, uncertain
from training.data.study import ManifestStudy


@dataclass(frozen=True)
class Findings:
    """The findings of N studies for L labels. Measures count what is known alone.

    there, known: bool[N,L]. labelled: bool[N]; nothing is known of a study that nobody labelled.
    """

    labels: tuple[str, ...]
    there: Bools
    known: Bools
    labelled: Bools

    @classmethod
    def of(cls, studies: Sequence[ManifestStudy], labels: Iterable[str]) -> Self:
        """Returns the table of these studies. Labels and findings are compared without case.

        Unknown are uncertain labels, and every label of a study that nobody labelled.
        """
        names = tuple(labels)
        labelled = np.array([is_labelled(study) for study in studies], bool)
        doubtful = _table([uncertain(study) for study in studies], names)
        there = _table([present(study) for study in studies], names)
        known = labelled[:, None] & ~doubtful
        return cls(names, there & known, known, labelled)

    @property
    def counted(self) -> int:
        """The number of studies of which some label is known."""
        return int(self.known.any(axis=1).sum())

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

    def left_out(self) -> tuple[str, ...]:
        """Returns a note on what is unknown of these studies; () if everything is known."""
        unlabelled = int((~self.labelled).sum())
        doubtful = int((~self.known[self.labelled]).sum())
        return (
            f"left out: {unlabelled} unlabelled studies, {doubtful} uncertain labels of others",
        ) * bool(self.labels and (unlabelled or doubtful))

    def at(self, rows: npt.NDArray[np.intp] | Bools) -> Self:
        """Returns the table of some of the studies."""
        return type(self)(self.labels, self.there[rows], self.known[rows], self.labelled[rows])


def _table(named: Sequence[Collection[str]], labels: Sequence[str]) -> Bools:
    """Returns bool[N,L]: whether each of N sets of names, in lower case, has each of L labels."""
    wanted = [label.lower() for label in labels]
    rows = [[label in names for label in wanted] for names in named]
    return np.array(rows, bool).reshape(len(named), len(labels))
