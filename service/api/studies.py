"""Answers PUT, POST, GET and DELETE /studies: stores, shows, counts and removes studies."""

import io
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.datastructures import FormData, UploadFile

from service.api.answers import Answer, BundleName, FailedItem, batch_items
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
    Parameters,
    Upload,
    decode_item,
    raised,
    read_input,
    validate,
)
from service.api.parsing import is_json_list, media_type, parse_json
from service.api.selection import Filter
from service.auth import reader, writer
from service.cases.records import NewStudy, StudyRecord
from service.cases.schema import Metadata, Study
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

    study_id: Identifier
    images: Annotated[list[ImageItem | str], Field(max_length=MAX_VIEWS, fail_fast=True)] = []


class PassageOut(Answer):
    """One sentence of a stored report."""

    id: str
    section: str
    text: str


class StoredImage(Answer):
    """One image of a stored study."""

    view: str | None
    url: str


class StudyOut(Answer):
    """A stored study. Its ids are references: keyed hashes of the caller's ids."""

    study_id: str
    patient_id: str | None
    source: str
    report: str | None
    passages: list[PassageOut]
    images: list[StoredImage]
    findings: list[str]
    metadata: Metadata

    @classmethod
    def of(cls, study: Study) -> "StudyOut":
        """Returns the study with the addresses of its images."""
        url = f"/studies/{study.study_id}/image"
        return cls(
            study_id=study.study_id,
            patient_id=study.patient_id,
            source=study.source,
            report=study.report,
            passages=[PassageOut.model_validate(passage) for passage in study.passages],
            images=[
                StoredImage(view=image.view, url=f"{url}?index={index}")
                for index, image in enumerate(study.images)
            ],
            findings=list(study.findings),
            metadata=study.metadata,
        )


class StudyItem(Answer):
    """One stored study of a batch."""

    index: int
    study: StudyOut


class StudyBatch(Answer):
    """Answer of POST /studies. Items have the order of the request."""

    bundle: BundleName
    items: list[StudyItem | FailedItem]


class StudyCounts(Answer):
    """The number of studies in the library, and for each value the number of studies with it."""

    studies: int
    source: dict[str, int]
    view: dict[str, int]
    findings: dict[str, int]


@router.put("/{study_id:study_id}", dependencies=[writer])
async def put_study(study_id: StudyId, request: Request, wired: Wired) -> StudyOut:
    """Stores a study and replaces an earlier version. It is on disk before the answer."""
    most = min(MAX_VIEWS, wired.settings.max_images)
    uploads, parameters = await read_input(request, StudyParameters, most)
    images = tuple(raised(upload.data) for upload in uploads)
    count_renditions(request, len(images))
    new = NewStudy(study_id, parameters.record(), images)
    return StudyOut.of(await Work(request).run(wired.library.put, new))


@router.post("", dependencies=[writer])
async def post_studies(request: Request, wired: Wired) -> StudyBatch:
    """Stores a batch: NDJSON, a JSON list, or a form with `studies` (a JSON list) and `files`."""
    lines = await _read_batch(request, wired.settings.max_images)
    good = [line for line in lines if isinstance(line, NewStudy)]
    count_renditions(request, sum(len(study.images) for study in good))
    work = Work(request, items=len(lines), bulk=True)
    stored = iter(await work.run(wired.library.put_many, good))
    outcomes = [next(stored) if isinstance(line, NewStudy) else line for line in lines]
    items = batch_items(
        outcomes, lambda index, study: StudyItem(index=index, study=StudyOut.of(study))
    )
    return StudyBatch(bundle=BundleName.of(wired.bundle), items=items)


@router.get("", dependencies=[reader])
def count_studies(wired: Wired, filter: Annotated[Filter, Query()]) -> StudyCounts:
    """Returns the number of studies, in all and for each source, view and finding."""
    if filter.section:
        raise RequestMalformed(
            "section: only passages have a section, and studies are counted. Leave it out."
        )
    store, where = wired.library.store, filter.where()
    return StudyCounts(studies=store.count(where), **store.facets(where))


@router.get("/{study_id:study_id}/image", dependencies=[reader], response_class=Response)
def get_image(study_id: StudyId, wired: Wired, index: int = 0) -> Response:
    """Returns the rendition of one image: a JPEG without metadata."""
    return Response(wired.library.rendition(study_id, index), media_type="image/jpeg")


@router.get("/{study_id:study_id}", dependencies=[reader])
def get_study(study_id: StudyId, wired: Wired) -> StudyOut:
    """Returns the stored study, by the caller's id or by the reference in a hit."""
    return StudyOut.of(wired.library.get(study_id))


@router.delete("/{study_id:study_id}", dependencies=[writer], status_code=204)
def delete_study(study_id: StudyId, wired: Wired) -> None:
    """Removes the study, its vectors and its renditions."""
    wired.library.delete(study_id)


async def _read_batch(request: Request, max_studies: int) -> list[NewStudy | EclipError]:
    if media_type(request) == FORM:
        async with open_form(request, max_files=MAX_VIEWS * max_studies) as form:
            values, files = _study_list(form), await _named_files(request, form)
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
    images = [image for study in batch if isinstance(study, NewStudy) for image in study.images]
    keep_parsed(request, size, images)
    return batch


def _check_count(count: int, max_studies: int) -> None:
    if not 0 < count <= max_studies:
        raise RequestMalformed(f"A batch must have 1 to {max_studies} studies.")


def _study_list(form: FormData) -> list[Any]:
    studies = form.get("studies")
    if not isinstance(studies, str):
        raise RequestMalformed("The form has no `studies` field. Send one with a JSON list.")
    values = parse_json(studies)
    if not isinstance(values, list):
        raise RequestMalformed("`studies` must be a JSON list.")
    return values


async def _named_files(request: Request, form: FormData) -> dict[str, bytes]:
    """Returns the form's files by name. Raises RequestMalformed when two have the same name."""
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
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
        return Upload(
            None, StudyInvalid("`images` names a file that is not in the form. Send the file too.")
        )
    return Upload(None, files[image])
