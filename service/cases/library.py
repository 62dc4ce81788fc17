"""Stores studies and finds similar cases: the case library that the API and the CLI use.

A caller's plain ids become references here. A write puts renditions (JPEGs) on disk first, then
points (vectors, texts and the study's record) into the store. So every acknowledged study has its
files, and `service.cases.places.sweep` removes what a crash leaves. One write runs at a time, so
that none removes a file that another needs, and a backup sees both or neither.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.cases.base import CaseStore
from service.cases.embedding import (
    AcceptedStudy,
    IllustratedStudy,
    StudyEncoder,
    embed,
    in_batches,
)
from service.cases.passages import split_report
from service.cases.records import NewStudy, check, digest_of
from service.cases.renditions import Renditions, names_of
from service.cases.schema import (
    CaseFilter,
    EmbeddedStudy,
    Exclusion,
    Hit,
    Part,
    Search,
    Study,
    Vector,
    VectorOf,
)
from service.deadline import Deadline
from service.errors import DeadlineExceeded, EclipError, StudyInvalid, StudyUnknown
from service.imaging.deidentify import Pseudonymiser, StudyRef
from service.telemetry import timed

DEPTH = 1000
"""Hits: length of the ranking that pages are cut from. All pages share it; none repeats a hit."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for and whose cases to leave out. The vector is handed over with it."""

    target: Part
    """What is found: images, reports or passages."""
    k: int
    """Most hits that are returned."""
    exclude: Exclusion
    """See `CaseLibrary.exclusion`. No default: a caller that forgot it would show a patient's own
    cases.
    """
    offset: int | None = None
    """Hits to pass over in one ranking of `DEPTH` hits. None ranks only the k best, which costs
    less; which of several tied hits are among them may then depend on k."""
    words: str | None = None
    """See `Search`, like `diversity` and `vector_of`."""
    diversity: float | None = None
    vector_of: VectorOf | None = None
    where: CaseFilter = CaseFilter()
    min_score: float | None = None
    """Least cosine of a hit."""
    group_by_study: bool = False
    """Return at most one hit of each study."""


class CaseLibrary:
    """A store of studies that is written through one encoder. Thread-safe.

    Methods that take `study_id` or `patient_id` accept the caller's own id, or a reference that
    the library gave out: what looks like one (`stu_` or `pat_` and 32 hex digits) is taken as one.
    """

    def __init__(
        self,
        store: CaseStore,
        encoder: StudyEncoder,
        pseudonyms: Pseudonymiser,
        renditions: Renditions,
    ) -> None:
        self.store, self.encoder, self.pseudonyms = store, encoder, pseudonyms
        self._renditions = renditions

    def put(self, study: NewStudy, deadline: Deadline) -> Study:
        """Stores one study, replacing an earlier version. Raises the error that refuses it."""
        (stored,) = self.put_many([study], deadline)
        if isinstance(stored, EclipError):
            raise stored
        return stored

    def put_many(self, studies: Sequence[NewStudy], deadline: Deadline) -> list[Study | EclipError]:
        """Stores studies and returns one result per study, in order.

        Of studies with the same id, only the first is stored; the others' results are errors.
        """
        references = [self.pseudonyms.study(study.study_id) for study in studies]
        first: dict[StudyRef, NewStudy] = {}
        for reference, study in zip(references, studies, strict=True):
            first.setdefault(reference, study)
        results = self.put_referenced(first, deadline)
        return [
            StudyInvalid("The batch has this study twice. Send its other version on its own.")
            if reference in references[:index]
            else results[reference]
            for index, reference in enumerate(references)
        ]

    def put_referenced(
        self, studies: Mapping[StudyRef, NewStudy], deadline: Deadline
    ) -> dict[StudyRef, Study | EclipError]:
        """Stores studies by their references and returns one result per study, in their order.

        A study that is already stored unchanged is not written again. The others are written in
        batches. Once the deadline has passed, the results of those that remain are that error.
        """
        results: dict[StudyRef, Study | EclipError] = {}
        accepted: list[AcceptedStudy] = []
        with timed("compare"):
            digests = self.store.digests(studies)
            for reference, study in studies.items():
                result = self._accept(reference, study, digests.get(reference))
                if isinstance(result, AcceptedStudy):
                    accepted.append(result)
                else:
                    results[reference] = result
        for batch in in_batches(accepted):
            embedded = embed(batch, self.encoder, deadline)
            try:
                with timed("write"):
                    self._write(embedded, lambda: deadline.remaining)
            except DeadlineExceeded as late:
                embedded = [late] * len(batch)
            for each, outcome in zip(batch, embedded, strict=True):
                results[each.reference] = _stored(outcome)
        return {reference: results[reference] for reference in studies}

    def adopt(
        self, studies: Sequence[EmbeddedStudy], renditions: Renditions
    ) -> list[Study | EclipError]:
        """Stores studies of another library, with vectors of this bundle, and their `renditions`.

        Returns one result per study, in order: an error if one of its renditions is missing.
        """
        results: list[IllustratedStudy | EclipError] = []
        for embedded in studies:
            try:
                jpegs = {name: renditions.read(name) for name in names_of(embedded.study)}
                results.append(IllustratedStudy(embedded, jpegs))
            except OSError:
                results.append(image_lost())
        self._write(results, lambda: -1)
        return [_stored(result) for result in results]

    def get(self, study_id: str) -> Study:
        """Returns the stored study. Raises StudyUnknown."""
        study = self.store.get(self.pseudonyms.study(study_id))
        if study is None:
            raise _unknown()
        return study

    def get_many(self, references: Sequence[StudyRef]) -> dict[StudyRef, EmbeddedStudy]:
        """Returns the studies of these references with their vectors.

        A study that is unknown, or that is being replaced or deleted, is absent.
        """
        return self.store.get_many(references)

    def delete(self, study_id: str) -> None:
        """Removes the study: its renditions, then its points. Raises StudyUnknown.

        After a crash the record still names the renditions that are left. Points that a replacement
        left when it was cut short are removed as well.
        """
        reference = self.pseudonyms.study(study_id)
        with self.store.writing.held():
            if (study := self.store.get(reference)) is not None:
                self._renditions.remove(names_of(study))
            if not self.store.delete(reference):
                raise _unknown()

    def delete_patient(self, patient_id: str) -> int:
        """Removes every study of the patient, as `delete` does. Returns their number, perhaps 0."""
        reference = self.pseudonyms.patient(patient_id)
        with self.store.writing.held():
            studies = self.store.studies_of(reference)
            for study in studies:
                self._renditions.remove(names_of(study))
            self.store.delete_patient(reference)
        return len(studies)

    def rendition(self, study_id: str, index: int = 0) -> bytes:
        """Returns the JPEG of one image of the study. Raises StudyUnknown."""
        study = self.get(study_id)
        if not 0 <= index < len(study.images):
            raise StudyUnknown(
                f"The study has {len(study.images)} images, counted from 0; {index} is not among "
                "them. Ask for another index."
            )
        try:
            return self._renditions.read(study.images[index].rendition)
        except FileNotFoundError:
            raise StudyUnknown(
                "The study's image is not on this server's disk. Put the study again."
            ) from None

    def search(self, vector: Vector | None, query: Query) -> list[Hit]:
        """Returns the best hits, best first; none of what the query excludes.

        vector: unit float32[D], or None for a search by words alone.
        """
        start = query.offset or 0
        with timed("search"):
            hits = self.store.search(
                Search(query.target, vector, query.words, query.diversity, query.vector_of),
                k=query.k if query.offset is None else DEPTH,
                where=query.where,
                exclude=query.exclude,
                min_score=query.min_score,
                group_by_study=query.group_by_study,
            )
        return hits[start : start + query.k]

    def exclusion(self, patient_id: str | None, study_id: str | None) -> Exclusion:
        """Returns what a search about this patient and study must leave out.

        It holds the patient, the study, and the patient of the study if that is stored.
        """
        study = None if study_id is None else self.pseudonyms.study(study_id)
        stored = self.store.get(study) if study else None
        patient = None if patient_id is None else self.pseudonyms.patient(patient_id)
        patients = {patient, stored.patient_id if stored else None}
        return Exclusion(tuple(sorted(filter(None, patients))), study)

    def _accept(
        self, reference: StudyRef, study: NewStudy, stored_digest: str | None
    ) -> AcceptedStudy | Study | EclipError:
        """Returns the study to embed, or the stored study if it is unchanged, or its error."""
        try:
            check(study)
            whole = digest_of(study, self.encoder.bundle.manifest.id)
            digest = self.pseudonyms.text(whole)  # without the key, ids and dates could be tried
            if digest == stored_digest and (stored := self._unchanged(reference)):
                return stored
            named = study.record.patient_id
            patient = None if named is None else self.pseudonyms.patient(named)
            passages = split_report(study.record.report or "", reference)
            moment = self.pseudonyms.shifted(study.moment, patient)
            accepted = AcceptedStudy(reference, patient, digest, study, passages, moment)
            self.encoder.check_texts(accepted.texts)
        except EclipError as error:
            return error
        return accepted

    def _unchanged(self, reference: StudyRef) -> Study | None:
        """Returns the stored study if its renditions are there too."""
        stored = self.store.get(reference)
        return stored if stored and self._renditions.has_all_of(stored) else None

    def _write(
        self, embedded: Sequence[IllustratedStudy | EclipError], patience_s: Callable[[], float]
    ) -> None:
        """Writes renditions, then points, then removes what only the earlier versions had.

        Raises DeadlineExceeded, and writes nothing, if others write or erase for longer than this.
        """
        studies = [study for study in embedded if isinstance(study, IllustratedStudy)]
        references = [study.embedded.study.study_id for study in studies]
        if not studies:
            return
        with self.store.writing.held(patience_s()):
            self.store.check_room()
            earlier = map(self.store.get, references)
            old = {name for study in earlier if study for name in names_of(study)}
            jpegs = {name: jpeg for study in studies for name, jpeg in study.renditions.items()}
            with self._renditions.exchanging(references, old, jpegs.keys()):
                self._renditions.write_all(jpegs)
                self.store.put([study.embedded for study in studies], patience_s())


def image_lost() -> StudyInvalid:
    """Returns the error of a study in another library whose image is gone."""
    return StudyInvalid(
        "An image of the study is not on this disk. Index the study again from its source."
    )


def _stored(result: IllustratedStudy | EclipError) -> Study | EclipError:
    return result if isinstance(result, EclipError) else result.embedded.study


def _unknown() -> StudyUnknown:
    return StudyUnknown("No such study in the case library. Check the id.")
