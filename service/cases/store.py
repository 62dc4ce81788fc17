"""The CaseStore protocol: what an engine must do to hold a case library."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from service.cases.schema import (
    EVERYTHING,
    Ask,
    CaseFilter,
    EmbeddedStudy,
    Exclusion,
    Facets,
    Hit,
    Identity,
    Study,
)
from service.imaging.deidentify import PatientRef, StudyRef


class CaseStore(Protocol):
    """A collection of studies written by exactly one bundle.

    Opening a collection that another bundle or another hash key wrote raises BundleMismatch;
    an engine that does not answer raises StoreUnavailable. Methods are thread-safe.
    """

    identity: Identity

    def put(self, studies: Sequence[EmbeddedStudy]) -> None:
        """Write whole studies, replacing earlier versions; durable on return, idempotent.

        One call is one request to the engine: callers bound it to some hundreds of studies.
        Raises ValueError, with nothing written, for a vector of another dimension or length.
        """

    def get(self, study_id: StudyRef) -> Study | None:
        """The stored study, or None."""

    def get_many(self, references: Iterable[StudyRef]) -> dict[StudyRef, EmbeddedStudy]:
        """The whole studies among `references` with their vectors; others are absent."""

    def digests(self, study_ids: Iterable[StudyRef]) -> dict[StudyRef, str]:
        """study_id → digest for those that are stored whole."""

    def studies(self) -> Iterator[EmbeddedStudy]:
        """Every whole study with its vectors; what is written meanwhile may be left out."""

    def delete(self, study_id: StudyRef) -> bool:
        """Remove every point of the study; False when there was none."""

    def delete_patient(self, patient_id: PatientRef) -> None:
        """Remove every point of the patient, those of a write that was cut short too."""

    def search(
        self,
        ask: Ask,
        *,
        k: int,
        where: CaseFilter,
        exclude: Exclusion,
        min_score: float | None = None,
        group_by_study: bool = False,
    ) -> list[Hit]:
        """The k ≥ 1 best parts of one kind, best first; with grouping at most one a study.

        A hit has at least the score `min_score`; equal scores come in order of point id.
        """

    def facets(self, where: CaseFilter) -> Facets:
        """How many studies have each source, view and finding, among those that `where` admits."""

    def studies_of(self, patient_id: PatientRef) -> list[Study]:
        """The patient's stored studies."""

    def count(self, where: CaseFilter = EVERYTHING) -> int:
        """Number of studies that `where` admits."""

    def check(self) -> None:
        """Return when the engine answers, else raise StoreUnavailable (or BundleMismatch)."""

    def close(self) -> None:
        """Release the engine (and, for an embedded one, its lock)."""
