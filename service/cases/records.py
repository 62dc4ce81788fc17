"""Describes a study as a caller sends it, and refuses metadata that identifies a patient."""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.errors import StudyInvalid
from service.identifiers import Identifier
from service.studies.fields import LOCAL, Facts, Word

IDENTIFYING = re.compile(
    r"name|birth|dob|mrn|accession|address|phone|ssn|patient|study_?id"
    r"|(?:^|[\W_]|instance|study|series)uid",
    re.IGNORECASE,
)
"""Metadata keys that look like patient identifiers. Example: "PatientName", "SOPInstanceUID"."""


class StudyRecord(BaseModel):
    """A study as a caller describes it, under the caller's own (plain) ids."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)

    patient_id: Identifier | None = None
    source: Annotated[Word, Field(description="Where the study comes from.")] = LOCAL
    report: str | None = None
    view: Word | None = None
    findings: Annotated[list[Word], Field(max_length=64, fail_fast=True)] = []
    metadata: Annotated[Facts, Field(description="Scalars without patient identifiers.")] = {}


@dataclass(frozen=True, slots=True)
class NewStudy:
    """A record with its id and its images' bytes, ready to be ingested."""

    study_id: str
    """The caller's own id, or a reference that the library gave out."""
    record: StudyRecord
    images: tuple[bytes, ...]
    views: tuple[str | None, ...] = ()
    """View of each image. If empty, the view is the file's, or else the record's."""
    moment: int | None = None
    """Minutes since 1970 at which the study was made, at the latest; None if nobody knows."""

    @property
    def dated(self) -> bool:
        """Whether a moment is stored: a patient must be known, by whose offset it is shifted."""
        return self.moment is not None and self.record.patient_id is not None


def check(study: NewStudy) -> None:
    """Raises StudyInvalid for a study without content or with identifying metadata keys."""
    if not study.images and not study.record.report:
        raise StudyInvalid("The study has neither a report nor an image. Send at least one.")
    identifying = [key for key in study.record.metadata if IDENTIFYING.search(key)]
    if identifying:
        raise StudyInvalid(
            f"{len(identifying)} metadata keys look like patient identifiers. Remove them. Send "
            "the patient's id as `patient_id`, which is stored only as a keyed hash."
        )


def digest_of(study: NewStudy, bundle_id: str) -> str:
    """Returns a sha256 of everything that is ingested, and of the bundle that embeds it.

    Only its keyed hash may be stored: whoever knows the rest of a study could try patients' ids and
    dates until the digest is the same.
    """
    whole = hashlib.sha256(bundle_id.encode())
    whole.update(study.record.model_dump_json().encode())
    whole.update(repr(study.views).encode() if study.views else b"")
    whole.update(f"made {study.moment}".encode() if study.dated else b"")
    for image in study.images:
        whole.update(hashlib.sha256(image).digest())
    return whole.hexdigest()
