"""The case library: studies in, similar cases out.

The one place where a caller's plain ids become keyed hashes, vectors meet the store, and renditions
reach the disk. Order of a write: renditions, then points, so that no acknowledged study lacks a
file and a crash leaves at most a file that nothing points to. One write at a time does both, so
that none removes a file that another has come to need.
"""

import hashlib
import io
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from PIL import Image as Pillow
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.bundle.manifest import Bundle
from service.cases.passages import split_report
from service.cases.schema import (
    Ask,
    CaseFilter,
    EmbeddedStudy,
    Exclusion,
    Hit,
    Image,
    Metadata,
    Part,
    Passage,
    Study,
    Vector,
)
from service.cases.store import CaseStore
from service.deadline import Deadline
from service.errors import EclipError, StudyInvalid, StudyUnknown
from service.imaging.deidentify import Pseudonymiser
from service.imaging.radiograph import Radiograph
from service.inference.encoder import EncodedRadiograph, EncodedText
from service.telemetry import timed

DEPTH = 1000
"""Of a search in pages: all are cut from one ranking, so that none doubles or loses a hit."""
IMAGES_AT_ONCE = 16
"""That are decoded, embedded and held together. What is written before a deadline stays."""
RENDITION_SIDE = 1024
RENDITION_QUALITY = 90
IDENTIFYING = re.compile(
    r"name|birth|dob|mrn|accession|address|phone|ssn|patient|study_?id"
    r"|(?:^|[\W_]|instance|study|series)uid",
    re.IGNORECASE,
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
    findings: Annotated[list[Word], Field(max_length=64, fail_fast=True)] = []
    metadata: Annotated[
        Metadata, Field(max_length=32, description="Scalars without patient identifiers.")
    ] = {}


class StudyEncoder(Protocol):
    """What a library asks of an `Encoder`, here or on a cluster."""

    bundle: Bundle

    def radiographs(
        self, items: Sequence[bytes], deadline: Deadline, side: int
    ) -> list[EncodedRadiograph | EclipError]:
        """One answer an item, radiographs reduced to `side`."""

    def texts(self, texts: Sequence[str], deadline: Deadline) -> list[EncodedText]:
        """One answer a text."""

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raise TextInvalid for what `texts` would not take."""


@dataclass(frozen=True, slots=True)
class NewStudy:
    """A record with its id and its images' bytes, ready to be ingested."""

    study_id: str
    record: StudyRecord
    images: tuple[bytes, ...]
    views: tuple[str | None, ...] = ()
    """Of each image, where they are known one by one; else they are the files' or the record's."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A study that is to be embedded, under its keyed hash."""

    study_id: str
    digest: str
    new: NewStudy
    passages: tuple[Passage, ...]

    @property
    def texts(self) -> list[str]:
        report = self.new.record.report
        return [report, *(passage.text for passage in self.passages)] if report else []


@dataclass(frozen=True, slots=True)
class _Ready:
    """An embedded study with its renditions: sha256 → JPEG."""

    embedded: EmbeddedStudy
    renditions: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for and whom to leave out. `patient_id` and `study_id` are the caller's own.

    words, diversity: see Ask. offset: a page of a ranking to the depth of `DEPTH`, after so many of
    its best; None is the k best alone, which costs less and breaks ties anew each time.
    """

    target: Part
    k: int
    offset: int | None = None
    words: str | None = None
    diversity: float | None = None
    where: CaseFilter = CaseFilter()
    patient_id: str | None = None
    study_id: str | None = None
    min_score: float | None = None
    group_by_study: bool = False


class CaseLibrary:
    """A store of studies written through one encoder. Thread-safe."""

    def __init__(
        self, store: CaseStore, encoder: StudyEncoder, pseudonyms: Pseudonymiser, renditions: Path
    ) -> None:
        self.store = store
        self.pseudonyms = pseudonyms
        self._encoder, self._renditions = encoder, renditions
        self._writing = threading.Lock()

    def put(self, study: NewStudy, deadline: Deadline) -> Study:
        """Store one study, replacing an earlier version; raises what is wrong with it."""
        (stored,) = self.put_many([study], deadline)
        if isinstance(stored, EclipError):
            raise stored
        return stored

    def put_many(self, studies: Sequence[NewStudy], deadline: Deadline) -> list[Study | EclipError]:
        """One outcome a study, in order; studies already stored unchanged are not written again.

        They are embedded and written some at a time. Of an id that comes twice in one call only
        the first is taken.
        """
        ids = [self.pseudonyms.study(study.study_id) for study in studies]
        known = self.store.digests(ids)
        outcomes = [
            StudyInvalid("The batch has this study twice; send its other version on its own.")
            if study_id in ids[:index]
            else self._unless_stored(study, study_id, known)
            for index, (study_id, study) in enumerate(zip(ids, studies, strict=True))
        ]
        embedded = []
        for some in _chunks([o for o in outcomes if isinstance(o, _Pending)]):
            embedded += self._embed(some, deadline)
            self._write([one for one in embedded[-len(some) :] if isinstance(one, _Ready)])
        rest = iter(embedded)
        ended = [next(rest) if isinstance(o, _Pending) else o for o in outcomes]
        return [e.embedded.study if isinstance(e, _Ready) else e for e in ended]

    def adopt(self, studies: Sequence[EmbeddedStudy], renditions: Path) -> list[Study]:
        """Store studies, and their images, as another library of this bundle and key has them.

        Returns those of which an image is not in `renditions`; they are not stored.
        """
        ready, without = [], []
        for one in studies:
            try:
                ready.append(_Ready(one, _read_renditions(renditions, one.study)))
            except OSError:
                without.append(one.study)
        self._write(ready)
        return without

    def get(self, study_id: str) -> Study:
        """The stored study, by the caller's id or by its pseudonym; raises StudyUnknown."""
        study = self.store.get(self.pseudonyms.study(study_id))
        if study is None:
            raise StudyUnknown("No such study in the case library.")
        return study

    def delete(self, study_id: str) -> None:
        """Remove the study, its points and its renditions; raises StudyUnknown."""
        with self._writing:
            reference = self.pseudonyms.study(study_id)
            if (study := self.store.get(reference)) is not None:
                self._remove(study)
            elif not self.store.delete(reference):
                raise StudyUnknown("No such study in the case library.")

    def delete_patient(self, patient_id: str) -> int:
        """Remove every study of the patient, as `delete` does; the number of them."""
        reference = self.pseudonyms.patient(patient_id)
        with self._writing:
            studies = self.store.studies_of(reference)
            for study in studies:
                self._remove(study)
            self.store.delete_patient(reference)
        return len(studies)

    def rendition(self, study_id: str, index: int = 0) -> bytes:
        """JPEG of one of the study's images, without metadata; raises StudyUnknown."""
        study = self.get(study_id)
        if not 0 <= index < len(study.images):
            raise StudyUnknown(f"The study has {len(study.images)} images; there is no {index}.")
        try:
            return self._rendition_path(study.images[index].rendition).read_bytes()
        except FileNotFoundError:
            raise StudyUnknown(
                "The study's image is not on this server's disk. Put the study again."
            ) from None

    def search(self, vector: Vector | None, query: Query) -> list[Hit]:
        """Best parts first; none of the named patient's, nor of the named study's patient."""
        start = query.offset or 0
        with timed("search"):
            hits = self.store.search(
                Ask(query.target, vector, query.words, query.diversity),
                k=query.k if query.offset is None else DEPTH,
                where=query.where,
                exclude=self.exclusion(query.patient_id, query.study_id),
                min_score=query.min_score,
                group_by_study=query.group_by_study,
            )
        return hits[start : start + query.k]

    def exclusion(self, patient_id: str | None, study_id: str | None) -> Exclusion:
        """The named patient and study, and the patient of the named study where that is stored."""
        study = study_id and self.pseudonyms.study(study_id)
        stored = self.store.get(study) if study else None
        named = patient_id and self.pseudonyms.patient(patient_id)
        patients = {named, stored.patient_id if stored else None}
        return Exclusion(tuple(sorted(filter(None, patients))), study)

    def _write(self, ready: Sequence[_Ready]) -> None:
        """Put renditions, then points, then remove what the earlier versions alone had."""
        if not ready:
            return
        with self._writing:
            studies = [one.embedded.study for one in ready]
            replaced = [self.store.get(study.study_id) for study in studies]
            for one in ready:
                for name, jpeg in one.renditions.items():
                    _write_durably(self._rendition_path(name), jpeg)
            self.store.put([one.embedded for one in ready])
            for old, new in zip(replaced, studies, strict=True):
                if old is not None:
                    self._remove_renditions(_renditions_of(old) - _renditions_of(new))

    def _unless_stored(
        self, new: NewStudy, study_id: str, known: Mapping[str, str]
    ) -> _Pending | Study | EclipError:
        """The study to be embedded, or the stored one if nothing changed, or what is wrong."""
        try:
            _check(new)
            digest = self._digest(new)
            if known.get(study_id) == digest and self._is_whole(stored := self.get(study_id)):
                return stored
            passages = split_report(new.record.report or "", study_id)
            pending = _Pending(study_id, digest, new, passages)
            self._encoder.check_texts(pending.texts)
        except EclipError as error:
            return error
        return pending

    def _embed(self, pending: Sequence[_Pending], deadline: Deadline) -> list[_Ready | EclipError]:
        """One outcome a study: all images in one call of the encoder, then all texts."""
        try:
            images = self._images_of(pending, deadline)
            whole = [one for one, i in zip(pending, images, strict=True) if isinstance(i, list)]
            texts = iter(self._texts_of(whole, deadline))
        except EclipError as error:
            return [error] * len(pending)
        return [
            i if isinstance(i, EclipError) else self._ready(one, i, next(texts))
            for one, i in zip(pending, images, strict=True)
        ]

    def _images_of(
        self, pending: Sequence[_Pending], deadline: Deadline
    ) -> list[list[EncodedRadiograph] | EclipError]:
        """Of each study its encoded images, or what is wrong with the first bad one."""
        images = [image for one in pending for image in one.new.images]
        encoded = iter(
            self._encoder.radiographs(images, deadline, RENDITION_SIDE) if images else ()
        )
        return [_all_or_first_error(list(islice(encoded, len(one.new.images)))) for one in pending]

    def _texts_of(self, pending: Sequence[_Pending], deadline: Deadline) -> list[list[Vector]]:
        """Of each study the vectors of its report and of its passages; none without a report."""
        texts = [text for one in pending for text in one.texts]
        encoded = iter(self._encoder.texts(texts, deadline) if texts else ())
        return [[text.vector for text in islice(encoded, len(one.texts))] for one in pending]

    def _ready(
        self, one: _Pending, encoded: Sequence[EncodedRadiograph], texts: Sequence[Vector]
    ) -> _Ready:
        record, views = one.new.record, one.new.views or (None,) * len(encoded)
        jpegs = [render(image.radiograph) for image in encoded]
        names = [hashlib.sha256(one.study_id.encode() + jpeg).hexdigest() for jpeg in jpegs]
        study = Study(
            study_id=one.study_id,
            patient_id=record.patient_id and self.pseudonyms.patient(record.patient_id),
            source=record.source,
            digest=one.digest,
            report=record.report,
            passages=one.passages,
            images=tuple(
                Image(rendition=name, view=view or image.radiograph.view or record.view)
                for name, image, view in zip(names, encoded, views, strict=True)
            ),
            findings=tuple(record.findings),
            metadata=record.metadata,
        )
        embedded = EmbeddedStudy(
            study=study,
            image_vectors=tuple(image.vector for image in encoded),
            report_vector=texts[0] if texts else None,
            passage_vectors=tuple(texts[1:]),
        )
        return _Ready(embedded, dict(zip(names, jpegs, strict=True)))

    def _is_whole(self, study: Study) -> bool:
        return all(self._rendition_path(name).is_file() for name in _renditions_of(study))

    def _remove(self, study: Study) -> None:
        """Renditions first: what a crash leaves of a study still tells what is to be removed."""
        self._remove_renditions(_renditions_of(study))
        self.store.delete(study.study_id)

    def _remove_renditions(self, names: set[str]) -> None:
        for name in names:
            self._rendition_path(name).unlink(missing_ok=True)

    def _rendition_path(self, name: str) -> Path:
        return rendition_path(self._renditions, name)

    def _digest(self, new: NewStudy) -> str:
        whole = hashlib.sha256(self._encoder.bundle.manifest.id.encode())
        whole.update(new.record.model_dump_json().encode())
        whole.update(repr(new.views).encode() if new.views else b"")
        for image in new.images:
            whole.update(hashlib.sha256(image).digest())
        return whole.hexdigest()


def rendition_path(renditions: Path, name: str) -> Path:
    """Where the rendition of this name lies, or would."""
    return renditions / name[:2] / f"{name}.jpg"


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


def _read_renditions(folder: Path, study: Study) -> dict[str, bytes]:
    return {
        name: rendition_path(folder, name).read_bytes() for name in sorted(_renditions_of(study))
    }


def _renditions_of(study: Study) -> set[str]:
    return {image.rendition for image in study.images}


def _chunks(pending: Sequence[_Pending]) -> Iterator[list[_Pending]]:
    """Up to `IMAGES_AT_ONCE` images or as many studies; more only where one study has more."""
    chunk: list[_Pending] = []
    for one in pending:
        images = sum(len(other.new.images) for other in [*chunk, one])
        if chunk and (images > IMAGES_AT_ONCE or len(chunk) == IMAGES_AT_ONCE):
            yield chunk
            chunk = []
        chunk.append(one)
    if chunk:
        yield chunk


def _all_or_first_error(
    images: Sequence[EncodedRadiograph | EclipError],
) -> list[EncodedRadiograph] | EclipError:
    for image in images:
        if isinstance(image, EclipError):
            return image
    return [image for image in images if isinstance(image, EncodedRadiograph)]


def _write_durably(path: Path, data: bytes) -> None:
    """Write aside, then rename: the file is there whole or not at all, also after a power cut."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(4)}.part")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
