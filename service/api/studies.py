"""PUT, POST, GET and DELETE /studies: the case library's content."""

import io
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from starlette.datastructures import FormData, UploadFile

from service.api.context import Wired, work
from service.api.inputs import (
    AsJson,
    ImageItem,
    Upload,
    decode_item,
    open_form,
    parse_json,
    raised,
    read_input,
    validate,
)
from service.api.retrieve import Filter
from service.api.schemas import (
    BundleName,
    FailedItem,
    StudyBatch,
    StudyCounts,
    StudyItem,
    StudyOut,
    checked,
)
from service.auth import reader, writer
from service.cases.manifest import MAX_VIEWS
from service.cases.records import Identifier, NewStudy, StudyRecord, Word
from service.cases.schema import Metadata
from service.deadline import Deadline
from service.errors import EclipError, RequestMalformed, StudyInvalid

router = APIRouter(prefix="/studies", tags=["studies"])
StudyId = Annotated[str, Path(min_length=1, max_length=256, pattern=r"\S")]


class StudyParameters(StudyRecord):
    """A study's fields; in a form or a query string, lists and objects are JSON text."""

    findings: Annotated[list[Word], Field(max_length=64, fail_fast=True), AsJson] = []
    metadata: Annotated[Metadata, AsJson, Field(max_length=32)] = {}

    def record(self) -> StudyRecord:
        """As the case library takes it."""
        return StudyRecord(**{name: getattr(self, name) for name in StudyRecord.model_fields})


class StudyLine(StudyParameters):
    """One study of a batch. `images`: {data: base64}, or in a form the names of its files."""

    study_id: Identifier
    images: Annotated[list[ImageItem | str], Field(max_length=MAX_VIEWS, fail_fast=True)] = []


@router.put("/{study_id}", dependencies=[writer])
async def put_study(study_id: StudyId, request: Request, wired: Wired) -> StudyOut:
    """Store a study, replacing an earlier version; it is on disk before the answer."""
    uploads, parameters = await read_input(request, StudyParameters, wired.settings.max_images)
    images = tuple(raised(upload.data) for upload in uploads)
    new = NewStudy(study_id, parameters.record(), images)
    deadline = Deadline(wired.settings.deadline_s)
    return StudyOut.of(await work(request, deadline, wired.library.put, new, deadline))


@router.post("", dependencies=[writer])
async def post_studies(request: Request, wired: Wired) -> StudyBatch:
    """Store a batch: NDJSON, or multipart with `studies` (JSON list) and `files`."""
    lines = await _read_batch(request, wired.settings.max_images)
    deadline = Deadline(wired.settings.deadline_s, items=len(lines), bulk=True)
    good = [line for line in lines if isinstance(line, NewStudy)]
    stored = iter(await work(request, deadline, wired.library.put_many, good, deadline))
    outcomes = [next(stored) if isinstance(line, NewStudy) else line for line in lines]
    items = [
        FailedItem.of(index, None, outcome)
        if isinstance(outcome, EclipError)
        else StudyItem(index=index, study=StudyOut.of(outcome))
        for index, outcome in enumerate(outcomes)
    ]
    errors = [outcome for outcome in outcomes if isinstance(outcome, EclipError)]
    return StudyBatch(bundle=BundleName.of(wired.bundle), items=checked(items, errors))


@router.get("", dependencies=[reader])
def count_studies(wired: Wired, filter: Annotated[Filter, Query()]) -> StudyCounts:
    """How many studies the library holds, and how many of them have each source, view, finding."""
    if filter.section:
        raise RequestMalformed("section: only passages have one, and studies are counted.")
    store, where = wired.library.store, filter.where()
    return StudyCounts(studies=store.count(where), **store.facets(where))


@router.get("/{study_id}", dependencies=[reader])
def get_study(study_id: StudyId, wired: Wired) -> StudyOut:
    """The stored study, by the caller's id or by the hashed one of a hit."""
    return StudyOut.of(wired.library.get(study_id))


@router.delete("/{study_id}", dependencies=[writer], status_code=204)
def delete_study(study_id: StudyId, wired: Wired) -> None:
    """Remove the study and every trace of it."""
    wired.library.delete(study_id)


@router.get("/{study_id}/image", dependencies=[reader], response_class=Response)
def get_image(study_id: StudyId, wired: Wired, index: int = 0) -> Response:
    """JPEG rendition without metadata."""
    return Response(wired.library.rendition(study_id, index), media_type="image/jpeg")


async def _read_batch(request: Request, max_studies: int) -> list[NewStudy | EclipError]:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with open_form(request, max_files=MAX_VIEWS * max_studies) as form:
            values, files = _study_list(form), await _named_files(form)
        _check_count(len(values), max_studies)
        batch = [_new_study(value, files) for value in values]
        _check_all_named(values, files)
        return batch
    body = io.BytesIO(await request.body())
    lines = list(islice((line for line in body if line.strip()), max_studies + 1))
    _check_count(len(lines), max_studies)
    return [_new_study_line(line) for line in lines]


def _check_count(count: int, max_studies: int) -> None:
    if not 0 < count <= max_studies:
        raise RequestMalformed(f"Send 1 to {max_studies} studies in one batch.")


def _study_list(form: FormData) -> list[Any]:
    studies = form.get("studies")
    if not isinstance(studies, str):
        raise RequestMalformed("The form has no `studies` field with a JSON list.")
    values = parse_json(studies)
    if not isinstance(values, list):
        raise RequestMalformed("`studies` must be a JSON list.")
    return values


async def _named_files(form: FormData) -> dict[str, bytes]:
    """The form's files by their names, which must tell them apart."""
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    files = {upload.filename or "": await upload.read() for upload in uploads}
    if len(files) < len(uploads):
        raise RequestMalformed("Two files of the form have the same name. Give each its own.")
    return files


def _check_all_named(values: list[Any], files: Mapping[str, bytes]) -> None:
    named = {name for value in values if isinstance(value, dict) for name in _names(value)}
    if files.keys() - named:
        raise RequestMalformed("The form holds a file that no study names in its `images`.")


def _names(value: dict[str, Any]) -> list[str]:
    images = value.get("images")
    return [name for name in images if isinstance(name, str)] if isinstance(images, list) else []


def _new_study_line(line: bytes) -> NewStudy | EclipError:
    try:
        return _new_study(parse_json(line), {})
    except EclipError as error:
        return error


def _new_study(value: Any, files: Mapping[str, bytes]) -> NewStudy | EclipError:
    try:
        line = validate(StudyLine, value)
        images = tuple(raised(_upload(image, files).data) for image in line.images)
    except EclipError as error:
        return error
    return NewStudy(line.study_id, line.record(), images)


def _upload(image: ImageItem | str, files: Mapping[str, bytes]) -> Upload:
    if isinstance(image, ImageItem):
        return decode_item(image)
    if image not in files:
        return Upload(None, StudyInvalid("`images` names a file that the form does not hold."))
    return Upload(None, files[image])
