"""Answers PUT, POST, GET and DELETE /studies: stores, shows, counts and removes studies."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.datastructures import UploadFile

from service.api.answers import BundleName, batch_items
from service.api.bodies import (
    count_renditions,
    keep_parsed,
    open_form,
    read_body,
    read_file,
    require_room_to_parse,
)
from service.api.context import Wired, Work
from service.api.identifiers import StudyId
from service.api.inputs import (
    FORM,
    AsJson,
    ImageItem,
    Upload,
    decode_item,
    form_parts,
    raised,
    read_input,
)
from service.api.parameters import Parameters, declared_query, validate, validate_once
from service.api.parsing import is_json_list, media_type, parse_json
from service.api.selection import Filter
from service.api.stored import StoredStudy, StudyBatch, StudyCounts, StudyItem, StudyOut
from service.auth import deleter, reader, writer
from service.cases.library import CaseLibrary
from service.cases.own_ids import OwnIds, own_ids
from service.cases.records import NewStudy, StudyRecord
from service.cases.schema import Metadata, Study
from service.deadline import Deadline
from service.errors import EclipError, RequestMalformed, StudyInvalid
from service.identifiers import Identifier
from service.studies.fields import MAX_VIEWS, Word

router = APIRouter(prefix="/studies", tags=["studies"])


class StudyParameters(Parameters, StudyRecord):
    """The fields of a study. In a form or a query string, lists and objects are JSON text."""

    findings: Annotated[list[Word], Field(max_length=64, fail_fast=True), AsJson] = []
    metadata: Annotated[Metadata, AsJson, Field(max_length=32)] = {}

    def record(self) -> StudyRecord:
        """Returns the fields in the case library's form."""
        return StudyRecord(**{name: getattr(self, name) for name in StudyRecord.model_fields})


class StudyLine(StudyParameters):
    """One study of a batch. `images` is a list of {data: base64}, or of names of a form's files."""

    study_id: Identifier | None = None
    """Your own id. Without it the study has the StudyInstanceUID of its DICOM files."""
    images: Annotated[list[ImageItem | str], Field(max_length=MAX_VIEWS, fail_fast=True)] = []


class StudyForm(Parameters):
    """The fields of a form that has a batch of studies; its files are `files`."""

    studies: Annotated[list[Any], AsJson]
    """A JSON list of studies, whose `images` are names of files."""


@router.put("/{study_id:study_id}", dependencies=[writer])
async def put_study(study_id: StudyId, request: Request, wired: Wired) -> StoredStudy:
    """Stores a study and replaces an earlier version. It is on disk before the answer.

    Without `patient_id`, the patient is the one whom the DICOM files name.
    """
    most = min(MAX_VIEWS, wired.settings.max_images)
    uploads, parameters = await read_input(request, StudyParameters, most)
    images = tuple(raised(upload.data) for upload in uploads)
    count_renditions(request, len(images))
    sent = _SentStudy(study_id, parameters, images)
    return await Work(request).run(_put, wired.library, sent)


@router.post("", dependencies=[writer, declared_query])
async def post_studies(request: Request, wired: Wired) -> StudyBatch:
    """Stores a batch: NDJSON, a JSON list, or a form with `studies` (a JSON list) and `files`."""
    lines = await _read_batch(request, wired.settings.max_images)
    count_renditions(request, sum(map(len, map(_images, lines))))
    work = Work(request, items=len(lines), bulk=True)
    outcomes = await work.run(_put_many, wired.library, lines)
    items = batch_items(outcomes, lambda index, study: StudyItem(index=index, study=study))
    return StudyBatch(bundle=BundleName.of(wired.bundle), items=items)


@router.get("", dependencies=[reader, declared_query])
def count_studies(wired: Wired, filter: Annotated[Filter, Query()]) -> StudyCounts:
    """Returns the number of studies, in all and for each source, view and finding."""
    if filter.section:
        raise RequestMalformed(
            "section: only passages have a section, and studies are counted. Leave it out."
        )
    store, where = wired.library.store, filter.where()
    return StudyCounts(studies=store.count(where), **store.facets(where))


@router.get(
    "/{study_id:study_id}/image", dependencies=[reader, declared_query], response_class=Response
)
def get_image(study_id: StudyId, wired: Wired, index: int = 0) -> Response:
    """Returns the rendition of one image: a JPEG without metadata."""
    return Response(wired.library.rendition(study_id, index), media_type="image/jpeg")


@router.get("/{study_id:study_id}", dependencies=[reader, declared_query])
def get_study(study_id: StudyId, wired: Wired) -> StudyOut:
    """Returns the stored study, by the caller's id or by the reference in a hit."""
    return StudyOut.of(wired.library.get(study_id))


@router.delete("/{study_id:study_id}", dependencies=[deleter, declared_query], status_code=204)
async def delete_study(
    study_id: StudyId, request: Request, wired: Wired, response: Response
) -> None:
    """Removes the study, its vectors and its renditions.

    The header `Erased-Within` has the seconds after which no file of the case library holds its
    content. It is absent with a Qdrant server, whose files are its own.
    """
    await Work(request).finish(wired.library.delete, study_id)
    if (seconds := wired.library.store.erased_within_s) is not None:
        response.headers["Erased-Within"] = str(seconds)


@dataclass(frozen=True, slots=True)
class _SentStudy:
    """A study as it was sent, perhaps under no ids but those of its DICOM files."""

    study_id: str | None
    fields: StudyParameters
    images: tuple[bytes, ...]

    def named(self) -> tuple[NewStudy, OwnIds]:
        """Returns the study under its ids, and who named them.

        Raises what `own_ids` raises, and RequestMalformed if nobody named the study.
        """
        ids = own_ids(self.images, self.fields.patient_id, self.study_id)
        if ids.study_id is None:
            raise RequestMalformed(
                "study_id: the study has none, and no DICOM file with a StudyInstanceUID. Name it."
            )
        record = self.fields.record().model_copy(update={"patient_id": ids.patient_id})
        return NewStudy(ids.study_id, record, self.images, moment=ids.latest), ids


def _put(library: CaseLibrary, sent: _SentStudy, deadline: Deadline) -> StoredStudy:
    new, ids = sent.named()
    return StoredStudy.named(library.put(new, deadline), ids)


def _put_many(
    library: CaseLibrary, batch: Sequence[_SentStudy | EclipError], deadline: Deadline
) -> list[StoredStudy | EclipError]:
    """Stores those studies of a batch that could be read. Returns one result each, in order."""
    named = [_named(line) for line in batch]
    good = [line for line in named if not isinstance(line, EclipError)]
    stored = iter(library.put_many([new for new, _ in good], deadline))
    return [
        line if isinstance(line, EclipError) else _answered(next(stored), line[1]) for line in named
    ]


def _named(line: _SentStudy | EclipError) -> tuple[NewStudy, OwnIds] | EclipError:
    try:
        return line if isinstance(line, EclipError) else line.named()
    except EclipError as error:
        return error


def _answered(outcome: Study | EclipError, ids: OwnIds) -> StoredStudy | EclipError:
    return outcome if isinstance(outcome, EclipError) else StoredStudy.named(outcome, ids)


async def _read_batch(request: Request, max_studies: int) -> list[_SentStudy | EclipError]:
    if media_type(request) == FORM:
        async with open_form(request, max_files=MAX_VIEWS * max_studies) as form:
            uploads, pairs = form_parts(form)
            values = validate_once(StudyForm, pairs).studies
            files = await _by_name(request, uploads)
        _check_count(len(values), max_studies)
        batch = [_new_study(value, files) for value in values]
        _check_all_named(values, files)
        return batch
    whole = await read_body(request)
    size = len(whole)
    require_room_to_parse(request, whole)
    if is_json_list(whole):
        values = parse_json(whole)[::-1]
        del whole  # before its images are decoded
        _check_count(len(values), max_studies)
        batch = [_new_study(values.pop(), {}) for _ in range(len(values))]
    else:
        most = islice((line for line in io.BytesIO(whole) if line.strip()), max_studies + 1)
        lines = list(most)[::-1]
        del whole, most
        _check_count(len(lines), max_studies)
        batch = [_new_study_line(lines.pop()) for _ in range(len(lines))]
    keep_parsed(request, size, [image for study in batch for image in _images(study)])
    return batch


def _images(study: _SentStudy | EclipError) -> tuple[bytes, ...]:
    return () if isinstance(study, EclipError) else study.images


def _check_count(count: int, max_studies: int) -> None:
    if not 0 < count <= max_studies:
        raise RequestMalformed(f"A batch must have 1 to {max_studies} studies.")


async def _by_name(request: Request, uploads: Sequence[UploadFile]) -> dict[str, bytes]:
    """Returns a form's files by name. Raises RequestMalformed when two have the same name."""
    files = {upload.filename or "": await read_file(request, upload) for upload in uploads}
    if len(files) < len(uploads):
        raise RequestMalformed("Two files of the form have the same name. Rename one of them.")
    return files


def _check_all_named(values: list[Any], files: Mapping[str, bytes]) -> None:
    named = {name for value in values if isinstance(value, dict) for name in _names(value)}
    if files.keys() - named:
        raise RequestMalformed(
            "The form has a file that no study names. Name it in the `images` of its study."
        )


def _names(value: dict[str, Any]) -> list[str]:
    images = value.get("images")
    return [name for name in images if isinstance(name, str)] if isinstance(images, list) else []


def _new_study_line(line: bytes) -> _SentStudy | EclipError:
    try:
        return _new_study(parse_json(line), {})
    except EclipError as error:
        return error


def _new_study(value: Any, files: Mapping[str, bytes]) -> _SentStudy | EclipError:
    try:
        line = validate(StudyLine, value)
        images = tuple(raised(_upload(image, files).data) for image in line.images)
        return _SentStudy(line.study_id, line, images)
    except EclipError as error:
        return error


def _upload(image: ImageItem | str, files: Mapping[str, bytes]) -> Upload:
    if isinstance(image, ImageItem):
        return decode_item(image)
    if image not in files:
        return Upload(
            None, StudyInvalid("`images` names a file that is not in the form. Send the file too.")
        )
    return Upload(None, files[image])
