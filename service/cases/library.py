"""The case library: studies in, similar cases out.

The one place where a caller's plain ids become keyed hashes, vectors meet the store, and renditions
reach the disk. Order of a write: renditions, then points, so that no acknowledged study lacks a
file and a crash leaves at most a file that nothing points to.
"""

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image as Pillow
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.cases.passages import split_report
from service.cases.schema import (
    CaseFilter,
    EmbeddedStudy,
    Exclusion,
    Hit,
    Image,
    Metadata,
    Part,
    Study,
    Vector,
)
from service.cases.store import CaseStore
from service.errors import EclipError, StudyInvalid, StudyUnknown
from service.imaging.deidentify import Pseudonymiser
from service.imaging.radiograph import Radiograph
from service.inference.batching import Deadline
from service.inference.encoder import EncodedImage, Encoder
from service.telemetry import timed

RENDITION_SIDE = 1024
RENDITION_QUALITY = 90
IDENTIFYING = re.compile(
    r"name|birth|dob|mrn|accession|address|phone|ssn|patient|study_?id|uid", re.IGNORECASE
)

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"\S")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class StudyRecord(BaseModel):
    """A study as a caller describes it, under the caller's own (plain) ids."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)

    patient_id: Identifier | None = None
    source: Annotated[Word, Field(description="Where the study comes from.")] = "local"
    report: Annotated[str | None, Field(max_length=20_000)] = None
    view: Word | None = None
    findings: Annotated[list[Word], Field(max_length=64)] = []
    metadata: Annotated[
        Metadata, Field(max_length=32, description="Scalars without patient identifiers.")
    ] = {}


@dataclass(frozen=True, slots=True)
class NewStudy:
    """A record with its id and its images' bytes, ready to be ingested."""

    study_id: str
    record: StudyRecord
    images: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for and whom to leave out. `patient_id` and `study_id` are the caller's own."""

    target: Part
    k: int
    where: CaseFilter = CaseFilter()
    patient_id: str | None = None
    study_id: str | None = None
    min_score: float | None = None
    group_by_study: bool = False


class CaseLibrary:
    """A store of studies written through one encoder. Thread-safe."""

    def __init__(
        self, store: CaseStore, encoder: Encoder, pseudonyms: Pseudonymiser, renditions: Path
    ) -> None:
        self.store = store
        self._encoder, self._pseudonyms, self._renditions = encoder, pseudonyms, renditions

    def put(self, study: NewStudy, deadline: Deadline) -> Study:
        """Store one study, replacing an earlier version; raises what is wrong with it."""
        (stored,) = self.put_many([study], deadline)
        if isinstance(stored, EclipError):
            raise stored
        return stored

    def put_many(self, studies: Sequence[NewStudy], deadline: Deadline) -> list[Study | EclipError]:
        """One outcome a study, in order; studies already stored unchanged are not written again."""
        known = self.store.digests(self._pseudonyms.study(s.study_id) for s in studies)
        outcomes = [self._embed(study, known, deadline) for study in studies]
        fresh = [outcome for outcome in outcomes if isinstance(outcome, EmbeddedStudy)]
        replaced = [self.store.get(e.study.study_id) for e in fresh if e.study.study_id in known]
        self.store.put(fresh)
        self._remove_stale_renditions(
            before={image.rendition for old in replaced if old for image in old.images},
            after={image.rendition for e in fresh for image in e.study.images},
        )
        return [o.study if isinstance(o, EmbeddedStudy) else o for o in outcomes]

    def get(self, study_id: str) -> Study:
        """The stored study, by the caller's id or by its pseudonym; raises StudyUnknown."""
        study = self.store.get(self._pseudonyms.study(study_id))
        if study is None:
            raise StudyUnknown("No such study in the case library.")
        return study

    def delete(self, study_id: str) -> None:
        """Remove the study, its points and its renditions; raises StudyUnknown."""
        study = self.get(study_id)
        self.store.delete(study.study_id)
        self._remove_stale_renditions({image.rendition for image in study.images}, after=set())

    def rendition(self, study_id: str, index: int = 0) -> bytes:
        """JPEG of one of the study's images, without metadata; raises StudyUnknown."""
        study = self.get(study_id)
        if not 0 <= index < len(study.images):
            raise StudyUnknown(f"The study has {len(study.images)} images; there is no {index}.")
        return self._rendition_path(study.images[index].rendition).read_bytes()

    def search(self, vector: Vector, query: Query) -> list[Hit]:
        """Nearest parts, best first; the named patient's and study's own parts never come back."""
        exclude = Exclusion(
            patient_id=query.patient_id and self._pseudonyms.patient(query.patient_id),
            study_id=query.study_id and self._pseudonyms.study(query.study_id),
        )
        with timed("search"):
            return self.store.search(
                vector,
                query.target,
                k=query.k,
                where=query.where,
                exclude=exclude,
                min_score=query.min_score,
                group_by_study=query.group_by_study,
            )

    def _embed(
        self, new: NewStudy, known: Mapping[str, str], deadline: Deadline
    ) -> EmbeddedStudy | Study | EclipError:
        """An embedded study, or the stored one if nothing changed, or what is wrong with it."""
        try:
            _check(new)
            study_id = self._pseudonyms.study(new.study_id)
            digest = self._digest(new)
            if known.get(study_id) == digest:
                return self.get(study_id)
            return self._embed_new(new, study_id, digest, deadline)
        except EclipError as error:
            return error

    def _embed_new(
        self, new: NewStudy, study_id: str, digest: str, deadline: Deadline
    ) -> EmbeddedStudy:
        encoded = [
            _raised(image) for image in self._encoder.images(new.images, deadline, RENDITION_SIDE)
        ]
        passages = split_report(new.record.report or "", study_id)
        texts = [new.record.report, *(p.text for p in passages)] if new.record.report else []
        vectors = [text.vector for text in self._encoder.texts(texts, deadline)]
        patient_id = new.record.patient_id
        study = Study(
            study_id=study_id,
            patient_id=patient_id and self._pseudonyms.patient(patient_id),
            source=new.record.source,
            digest=digest,
            report=new.record.report,
            passages=passages,
            images=tuple(self._keep(study_id, image.radiograph, new.record) for image in encoded),
            findings=tuple(new.record.findings),
            metadata=new.record.metadata,
        )
        return EmbeddedStudy(
            study=study,
            image_vectors=tuple(image.vector for image in encoded),
            report_vector=vectors[0] if vectors else None,
            passage_vectors=tuple(vectors[1:]),
        )

    def _keep(self, study_id: str, radiograph: Radiograph, record: StudyRecord) -> Image:
        jpeg = render(radiograph)
        name = hashlib.sha256(study_id.encode() + jpeg).hexdigest()
        _write_durably(self._rendition_path(name), jpeg)
        return Image(rendition=name, view=radiograph.view or record.view)

    def _remove_stale_renditions(self, before: set[str], after: set[str]) -> None:
        for name in before - after:
            self._rendition_path(name).unlink(missing_ok=True)

    def _rendition_path(self, name: str) -> Path:
        return self._renditions / name[:2] / f"{name}.jpg"

    def _digest(self, new: NewStudy) -> str:
        whole = hashlib.sha256(self._encoder.bundle.manifest.id.encode())
        whole.update(new.record.model_dump_json().encode())
        for image in new.images:
            whole.update(hashlib.sha256(image).digest())
        return whole.hexdigest()


def render(radiograph: Radiograph) -> bytes:
    """JPEG for people: 8 bit, at most `RENDITION_SIDE` on its longer side, no metadata."""
    pixels = radiograph.pixels
    levels = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    image = Pillow.fromarray(levels)
    image.thumbnail((RENDITION_SIDE, RENDITION_SIDE))
    jpeg = io.BytesIO()
    image.save(jpeg, format="JPEG", quality=RENDITION_QUALITY)
    return jpeg.getvalue()


def _check(new: NewStudy) -> None:
    if not new.images and not new.record.report:
        raise StudyInvalid("The study has neither a report nor an image. Send at least one.")
    identifying = [key for key in new.record.metadata if IDENTIFYING.search(key)]
    if identifying:
        raise StudyInvalid(
            f"{len(identifying)} metadata keys look like patient identifiers. Remove them; give "
            "the patient's id as `patient_id`, which is stored only as a keyed hash."
        )


def _raised(image: EncodedImage | EclipError) -> EncodedImage:
    if isinstance(image, EclipError):
        raise image
    return image


def _write_durably(path: Path, data: bytes) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
