"""Studies as the case library stores them, and what a search gives back.

Every identifier here is already a keyed hash (`service.imaging.deidentify`): the plain
patient and study ids never reach this package.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.errors import BundleMismatch
from service.imaging.deidentify import PatientRef, StudyRef

SCHEMA_VERSION = 3
Part = Literal["image", "report", "passage"]
Vector = npt.NDArray[np.float32]
"""float32[D], unit length."""
Metadata = dict[str, str | int | float | bool]
Facets = dict[str, dict[str, int]]
"""source, view, findings → value → number of studies, for the thousand most frequent values."""


@dataclass(frozen=True, slots=True)
class Image:
    """One view of a study. `rendition` is the sha256 of its JPEG rendition."""

    rendition: str
    view: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One sentence of a report, as written (negation kept), and the section it stands in."""

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
    """sha256 of everything that was ingested, by which a re-run knows what is already there.

    Empty in a stored study whose replacement was begun and not finished.
    """
    report: str | None = None
    passages: tuple[Passage, ...] = ()
    images: tuple[Image, ...] = ()
    findings: tuple[str, ...] = ()
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmbeddedStudy:
    """A study with its vectors: image_vectors[i] belongs to images[i], and so on."""

    study: Study
    image_vectors: tuple[Vector, ...]
    report_vector: Vector | None
    passage_vectors: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Conjunction of conditions; each tuple is any-of; an empty tuple is no condition.

    `view` looks at the image itself when images are searched, else at all images of the study.
    Only passages have a section: with `section`, a search for images or reports finds nothing.
    """

    source: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    section: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """What is sought among the parts of one kind: by meaning, by wording, or by both.

    vector alone ranks by cosine; words alone by BM25 (images have none); both by reciprocal rank
    fusion of the two. diversity, in (0, 1], trades a vector's nearness for difference from what was
    already chosen (maximal marginal relevance).
    """

    target: Part
    vector: Vector | None = None
    words: str | None = None
    diversity: float | None = None

    def __post_init__(self) -> None:
        if self.vector is None and self.words is None:
            raise ValueError("a search needs a vector, words or both")
        if self.diversity is not None and (self.vector is None or self.words is not None):
            raise ValueError("only a search by a vector alone can be diverse")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Whose cases must not come back: hashed patient and study ids."""

    patient_ids: tuple[PatientRef, ...] = ()
    study_id: StudyRef | None = None


NOBODY = Exclusion()
EVERYTHING = CaseFilter()


@dataclass(frozen=True, slots=True)
class Hit:
    """One found part of a study. `score` is the cosine of query and stored vector, or what else the
    search ranked by (see Ask)."""

    score: float
    part: Part
    study_id: StudyRef
    patient_id: PatientRef | None
    source: str
    text: str | None
    """The report's or passage's text; None for an image."""
    passage_id: str | None
    section: str | None
    image_index: int | None
    """Of the matched image among its study's, or of the study's first; None without an image."""
    view: str | None
    findings: tuple[str, ...]
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Identity:
    """What a collection belongs to; it is written once, with the collection."""

    bundle_id: str
    key_fingerprint: str
    dimension: int
    schema_version: int = SCHEMA_VERSION

    def require(self, stored: "Identity") -> None:
        """Raise BundleMismatch unless the stored collection has this identity."""
        if stored == self:
            return
        mend = "Index the studies again into a new, empty library, or serve what wrote this one."
        raise BundleMismatch(f"{self._difference(stored)} {mend}")

    def _difference(self, stored: "Identity") -> str:
        for what, theirs, ours in (
            ("bundle", stored.bundle_id[:12], self.bundle_id[:12]),
            ("hash key", stored.key_fingerprint[:12], self.key_fingerprint[:12]),
            ("dimension", stored.dimension, self.dimension),
        ):
            if theirs != ours:
                return f"The case library was written with {what} {theirs}, not {ours}."
        return (
            f"The case library has schema version {stored.schema_version}, "
            f"not {self.schema_version}."
        )
