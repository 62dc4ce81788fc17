"""POST /classify: zero-shot findings."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError

from service.api.context import Services, Wired, work
from service.api.embed import encode_uploads
from service.api.inputs import AsJson, Parameters, read_input, some_images
from service.api.schemas import (
    BundleName,
    Classification,
    Classified,
    FailedItem,
    FindingOut,
    checked,
)
from service.auth import reader
from service.bundle.labels import Prompts
from service.deadline import Deadline
from service.errors import EclipError, LabelsEmpty, LabelSetUnknown, LabelsInvalid
from service.inference.zero_shot import MAX_LABELS, Classifier

router = APIRouter(tags=["classify"], dependencies=[reader])
_LABELS = TypeAdapter(dict[str, Prompts])


class ClassifyParameters(Parameters):
    """Parameters of /classify; without either, the bundle's first label set is used."""

    label_set: str | None = None
    labels: Annotated[dict[str, Any] | None, AsJson] = None
    """Label name → {"present": [prompts], "absent": [prompts]}."""


@router.post("/classify")
async def classify(request: Request, wired: Wired) -> Classification:
    """Findings of each image, by a label set of the bundle or by labels of the caller."""
    uploads, parameters = await read_input(request, ClassifyParameters, wired.settings.max_images)
    deadline = Deadline(wired.settings.deadline_s, items=len(uploads))
    classifier = await work(request, deadline, _classifier, wired, parameters, deadline)
    encoded = await work(request, deadline, encode_uploads, wired, some_images(uploads), deadline)
    items = [
        FailedItem.of(index, upload.id, result)
        if isinstance(result, EclipError)
        else Classified(
            index=index,
            id=upload.id,
            findings=[FindingOut.model_validate(f) for f in classifier(result.vector)],
        )
        for index, (upload, result) in enumerate(zip(uploads, encoded, strict=True))
    ]
    errors = [result for result in encoded if isinstance(result, EclipError)]
    return Classification(bundle=BundleName.of(wired.bundle), items=checked(items, errors))


def _classifier(wired: Services, parameters: ClassifyParameters, deadline: Deadline) -> Classifier:
    if parameters.labels is not None:
        return Classifier(_prompts(parameters.labels), wired.encoder, deadline)
    name = parameters.label_set or next(iter(wired.classifiers))
    if name not in wired.classifiers:
        raise LabelSetUnknown(
            f"The bundle has no such label set; it has {', '.join(wired.classifiers)}. "
            "Name one of these, or send `labels`."
        )
    return wired.classifiers[name]


def _prompts(labels: dict[str, Any]) -> dict[str, Prompts]:
    if len(labels) > MAX_LABELS:
        raise LabelsInvalid(f"{len(labels)} labels are over the bound of {MAX_LABELS}.")
    if any(isinstance(label, dict) and not label.get("present") for label in labels.values()):
        raise LabelsEmpty("A label has no `present` prompt. Give each label at least one.")
    try:
        return _LABELS.validate_python(labels)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise LabelsInvalid(
            f"A label is not of the form {{present: [prompts], absent: [prompts]}}: {first['msg']}."
        ) from None
