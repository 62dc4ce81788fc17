"""PUT, POST, GET and DELETE /studies: the case library's content."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field
from starlette.datastructures import UploadFile

from service.api.context import Services, Wired, work
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
from service.api.schemas import (
    BundleName,
    FailedItem,
    StudyBatch,
    StudyItem,
    StudyOut,
    checked,
)
from service.auth import reader, writer
from service.cases.library import Identifier, NewStudy, StudyRecord, Word
from service.cases.schema import Metadata
from service.errors import EclipError, RequestMalformed, StudyInvalid
from service.inference.batching import Deadline

router = APIRouter(prefix="/studies", tags=["studies"])
StudyId = Annotated[str, Path(min_length=1, max_length=256, pattern=r"\S")]
MAX_VIEWS = 16


class StudyParameters(StudyRecord):
    """A study's fields; in a form or a query string, lists and objects are JSON text."""

    findings: Annotated[list[Word], AsJson, Field(max_length=64)] = []
    metadata: Annotated[Metadata, AsJson, Field(max_length=32)] = {}

    def record(self) -> StudyRecord:
        """As the case library takes it."""
        return StudyRecord(**{name: getattr(self, name) for name in StudyRecord.model_fields})


class StudyLine(StudyParameters):
    """One study of a batch. `images`: {data: base64}, or in a form the names of its files."""

    study_id: Identifier
    images: Annotated[list[ImageItem | str], Field(max_length=MAX_VIEWS)] = []


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
    lines = await _read_batch(request, wired)
    if not 0 < len(lines) <= wired.settings.max_images:
        raise RequestMalformed(
            f"{len(lines)} studies in one batch; send 1 to {wired.settings.max_images}."
        )
    deadline = Deadline(wired.settings.deadline_s)
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


async def _read_batch(request: Request, wired: Services) -> list[NewStudy | EclipError]:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with open_form(request, max_files=MAX_VIEWS * wired.settings.max_images) as form:
            studies, files = form.get("studies"), form.getlist("files")
            if not isinstance(studies, str):
                raise RequestMalformed("The form has no `studies` field with a JSON list.")
            uploads = {
                file.filename: await file.read() for file in files if isinstance(file, UploadFile)
            }
        values = parse_json(studies)
        if not isinstance(values, list):
            raise RequestMalformed("`studies` must be a JSON list.")
        return [_new_study(value, uploads) for value in values]
    lines = (await request.body()).splitlines()
    return [_new_study_line(line) for line in lines if line.strip()]


def _new_study_line(line: bytes) -> NewStudy | EclipError:
    try:
        return _new_study(parse_json(line), {})
    except EclipError as error:
        return error


def _new_study(value: Any, files: dict[str | None, bytes]) -> NewStudy | EclipError:
    try:
        line = validate(StudyLine, value)
        images = tuple(raised(_upload(image, files).data) for image in line.images)
    except EclipError as error:
        return error
    return NewStudy(line.study_id, line.record(), images)


def _upload(image: ImageItem | str, files: dict[str | None, bytes]) -> Upload:
    if isinstance(image, ImageItem):
        return decode_item(image)
    if image not in files:
        return Upload(None, StudyInvalid("`images` names a file that the form does not hold."))
    return Upload(None, files[image])
