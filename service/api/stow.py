"""Answers POST /dicom-web/studies: takes DICOM objects in, as STOW-RS (PS3.18 10.5)."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from service.api.accept import negotiate
from service.api.context import Services, Wired, Work
from service.api.parameters import declared_query
from service.api.related import read_parts
from service.auth import writer
from service.errors import ReceivingOff, StoreUnavailable
from service.pacs.intake import Intake
from service.pacs.receive.taking import Named, Status, counted, named, study_of, take

ANSWER = "application/dicom+json"
_ANSWERS = (ANSWER, "application/json")
_FULL_RETRY_S = 30.0
"""Seconds after which there may be room again."""
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/related": {
                "schema": {"type": "string", "contentMediaType": "application/octet-stream"}
            }
        },
    }
}
_DESCRIPTIONS = {
    200: "All objects are kept",
    202: "Some objects are kept; `FailedSOPSequence` says why the others are not",
    409: "No object is kept; `FailedSOPSequence` says why",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {kind: {"schema": {"type": "object"}} for kind in _ANSWERS},
    }
    for status, text in _DESCRIPTIONS.items()
}

StudyUid = Annotated[str, Path(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]
"""StudyInstanceUID, as it is in the objects (PS3.5 9.1)."""
router = APIRouter(prefix="/dicom-web/studies", tags=["pacs"])


class DicomJson(JSONResponse):
    """A dataset in the DICOM JSON model (PS3.18 F)."""

    media_type = ANSWER


@router.post(
    "",
    dependencies=[writer, declared_query],
    response_class=DicomJson,
    openapi_extra=_BODY,
    responses=_RESPONSES,
)
async def store(request: Request, wired: Wired) -> JSONResponse:
    """Takes DICOM objects in. Each is kept durably before the answer names it as stored."""
    return await _store(request, wired, None)


@router.post(
    "/{study_uid}",
    dependencies=[writer, declared_query],
    response_class=DicomJson,
    openapi_extra=_BODY,
    responses=_RESPONSES,
)
async def store_study(study_uid: StudyUid, request: Request, wired: Wired) -> JSONResponse:
    """Takes DICOM objects of one study in. Objects of another study fail."""
    return await _store(request, wired, study_uid)


async def _store(request: Request, wired: Services, study_uid: str | None) -> JSONResponse:
    kind = negotiate(request.headers.get("accept", ""), _ANSWERS)
    intake = wired.intake
    if intake is None:
        raise ReceivingOff(
            "This server receives no objects from a PACS. Set ECLIP_LISTEN_PORT and start it again."
        )
    if intake.full:
        raise _full()
    settings = wired.settings
    files = await read_parts(request, settings.max_images, settings.max_image_bytes)
    too_large = None in files
    outcomes = await Work(request, bulk=True).finish(_take_all, intake, files, study_uid)
    statuses = {status for _, status in outcomes}
    if statuses == {Status.OUT_OF_RESOURCES} and not too_large:
        raise _full()
    code = 200 if statuses == {Status.KEPT} else 202 if Status.KEPT in statuses else 409
    return JSONResponse(_answer(outcomes), code, media_type=kind)


Outcome = tuple[Named | None, Status]


def _take_all(intake: Intake, files: list[bytes | None], study_uid: str | None) -> list[Outcome]:
    """Hands all files to the intake, and lets go of each."""
    outcomes = []
    files.reverse()
    while files:
        outcomes.append(_take(intake, files.pop(), study_uid))
    return outcomes


def _take(intake: Intake, file: bytes | None, study_uid: str | None) -> Outcome:
    if file is None:
        return None, counted(Status.OUT_OF_RESOURCES, "stow")
    name = named(file)
    if study_uid is not None and study_of(file) != study_uid:
        return name, counted(Status.MISMATCH, "stow")
    return name, take(intake, file, "stow")


def _answer(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Returns the dataset of PS3.18 table 10.5.3-1: what is stored, and what is not."""
    kept = [_item(name) for name, status in outcomes if status is Status.KEPT]
    failed = [
        _item(name) | {"00081197": {"vr": "US", "Value": [int(status)]}}
        for name, status in outcomes
        if status is not Status.KEPT
    ]
    sequences = {"00081198": failed, "00081199": kept}
    return {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def _item(name: Named | None) -> dict[str, Any]:
    """Returns the reference to an object; an object that cannot be read has none."""
    if name is None:
        return {}
    return {
        "00081150": {"vr": "UI", "Value": [name.sop_class]},
        "00081155": {"vr": "UI", "Value": [name.instance]},
    }


def _full() -> StoreUnavailable:
    return StoreUnavailable(
        "Received objects that wait take all of ECLIP_SPOOL_BYTES, or the disk is full. Send the "
        "objects again later.",
        retry_after_s=_FULL_RETRY_S,
    )
