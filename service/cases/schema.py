"""Defines what the case library stores and what a search returns.

Every id here is a reference, a keyed hash (`service.imaging.deidentify`). Plain patient and study
ids end in `CaseLibrary`.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.cases.breadth import SUREST, Breadth
from service.errors import BundleMismatch, SchemaMismatch
from service.imaging.deidentify import PatientRef, StudyRef
from service.studies.fields import Metadata as Metadata

SCHEMA_VERSION = 4
"""Version of what is stored. 4: reports are split by `service.bundle.report_text`."""
OLDEST_READABLE = 3
"""Schema version: the oldest that `eclip copy` can read. 3 differs in how reports are split."""
Part = Literal["image", "report", "passage"]
VectorOf = Literal["image", "text"]
"""What a vector was made of."""
Vector = npt.NDArray[np.float32]
"""float32[D], unit length."""
Facets = dict[str, dict[str, int]]
"""source, view, findings → value → number of studies, for the thousand most frequent values."""


@dataclass(frozen=True, slots=True)
class Image:
    """One view of a study. `rendition` is the name of its JPEG, a sha256."""

    rendition: str
    view: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One sentence of a stored report, as written, and the section that holds it."""

    id: str
    section: str
    text: str


@dataclass(frozen=True, slots=True)
class Study:
    """A study as stored, without vectors."""

    study_id: StudyRef
    patient_id: PatientRef | None
    source: str
    digest: str
    """Keyed hash of all that was ingested. A second ingestion skips a study with this digest.

    Empty while the study is being replaced, and after a replacement that was cut short.
    """
    report: str | None = None
    passages: tuple[Passage, ...] = ()
    images: tuple[Image, ...] = ()
    findings: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    moment: int | None = None
    """Minutes: when the study was made, shifted by the patient's secret offset
    (`Pseudonymiser.shift`). Only moments of one patient can be compared. None if nobody knows, or
    if an earlier version stored the study."""


@dataclass(frozen=True, slots=True)
class EmbeddedStudy:
    """A study with its vectors: image_vectors[i] belongs to images[i], and so on.

    With a bundle that encodes no texts, report_vector is None and passage_vectors is empty.
    """

    study: Study
    image_vectors: tuple[Vector, ...]
    report_vector: Vector | None
    passage_vectors: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Conditions that a study must all meet.

    A study meets a condition if it has any of its values. An empty tuple admits every study.
    `view` looks at the image itself when images are searched, else at all images of the study.
    Only passages have a section: with `section`, a search for images or reports finds nothing.
    """

    source: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    section: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for among the parts of one kind: by meaning, by wording, or by both.

    A vector alone ranks by cosine, words alone by BM25 (images have no words), and both by
    reciprocal rank fusion. `diversity`, in (0, 1], trades nearness for difference from the hits
    already chosen (maximal marginal relevance).
    """

    target: Part
    vector: Vector | None = None
    words: str | None = None
    diversity: float | None = None
    vector_of: VectorOf | None = None
    """Images find images more easily than texts do. None: unknown, so the search is the surest."""
    breadth: Breadth = SUREST
    """How broadly graphs are searched. `CaseStore.search` sets it to what was measured."""

    def __post_init__(self) -> None:
        if self.vector is None and self.words is None:
            raise ValueError("a search needs a vector, words or both")
        if self.diversity is not None and (self.vector is None or self.words is not None):
            raise ValueError("only a search by a vector alone can be diverse")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The patients and the study whose parts a search must not return."""

    patient_ids: tuple[PatientRef, ...] = ()
    study_id: StudyRef | None = None


NOBODY = Exclusion()
EVERYTHING = CaseFilter()


@dataclass(frozen=True, slots=True)
class Hit:
    """One part of a study that a search returned."""

    score: float
    """Cosine of the query's and the stored vector, or what else ranks (see Search)."""
    part: Part
    study_id: StudyRef
    patient_id: PatientRef | None
    source: str
    text: str | None
    """Text of the report or passage; None for an image."""
    passage_id: str | None
    section: str | None
    image_index: int | None
    """Index of the matched image; 0 for a text; None if the study has no image."""
    view: str | None
    findings: tuple[str, ...]
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Identity:
    """What a stored library belongs to. It is written once, when the library is made."""

    bundle_id: str
    key_fingerprint: str
    dimension: int
    schema_version: int = SCHEMA_VERSION

    def require(self, stored: "Identity") -> None:
        """Raises BundleMismatch or SchemaMismatch unless the stored library has this identity."""
        for what, theirs, ours in (
            ("bundle", stored.bundle_id[:12], self.bundle_id[:12]),
            ("hash key", stored.key_fingerprint[:12], self.key_fingerprint[:12]),
            ("dimension", stored.dimension, self.dimension),
        ):
            if theirs != ours:
                raise BundleMismatch(
                    f"The case library was written with {what} {theirs}, not {ours}. Serve the "
                    f"{what} that wrote it, or index the studies again into a new library."
                )
        if stored.schema_version != self.schema_version:
            raise SchemaMismatch(
                f"The case library has schema version {stored.schema_version}, not "
                f"{self.schema_version}. {_remedy(stored.schema_version)}"
            )

    def require_readable(self) -> None:
        """Raises SchemaMismatch if this program cannot read a library of this identity."""
        if not OLDEST_READABLE <= self.schema_version <= SCHEMA_VERSION:
            raise SchemaMismatch(
                f"The case library has schema version {self.schema_version}. This program reads "
                f"{OLDEST_READABLE} to {SCHEMA_VERSION}. {_remedy(self.schema_version)}"
            )

    def is_unit(self, vector: Vector) -> bool:
        """Tells whether a vector has this dimension and unit length, and so is finite."""
        return vector.shape == (self.dimension,) and bool(abs(np.linalg.norm(vector) - 1) < 1e-2)

    def require_unit(self, vector: Vector) -> None:
        """Raises ValueError for a vector that `is_unit` refuses."""
        if not self.is_unit(vector):
            raise ValueError(
                f"Expected a vector of {self.dimension} values and unit length, got shape "
                f"{vector.shape} and length {np.linalg.norm(vector):.3g}."
            )

    def same_vectors(self, other: "Identity") -> bool:
        """Tells whether both libraries have the same bundle and key, and so the same vectors."""
        ours = (self.bundle_id, self.key_fingerprint, self.dimension)
        return ours == (other.bundle_id, other.key_fingerprint, other.dimension)


def _remedy(stored_version: int) -> str:
    if stored_version > SCHEMA_VERSION:
        return "Use the newer program that wrote it."
    if stored_version < OLDEST_READABLE:
        return "Index the studies again into a new library."
    return (
        "Set ECLIP_COLLECTION to a new name and run `eclip copy` with this library's directory or "
        "collection; image and report vectors are kept."
    )
