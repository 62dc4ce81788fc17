"""Answers POST /classify: zero-shot findings of each image."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import TypeAdapter, ValidationError

from service.api.answers import Answer, BundleName, FailedItem, FindingOut, batch_items
from service.api.context import Services, Wired, Work
from service.api.inputs import AsJson, encode_uploads, read_input, some_images
from service.api.parameters import Parameters
from service.auth import reader
from service.bundle.labels import Prompts
from service.bundle.scoring import ScoringKind
from service.deadline import Deadline
from service.errors import EclipError, LabelsEmpty, LabelSetUnknown, LabelsInvalid
from service.imaging.content import refusal
from service.inference.encoder import EncodedImage
from service.inference.zero_shot import MAX_LABELS, Classifier

router = APIRouter(tags=["classify"], dependencies=[reader])
_LABELS = TypeAdapter(dict[str, Prompts])


class ClassifyParameters(Parameters):
    """Parameters of /classify. Without either, the bundle's first label set is used."""

    label_set: str | None = None
    """Name of one of the bundle's label sets."""
    labels: Annotated[dict[str, Any] | None, AsJson] = None
    """The caller's own labels: name → {"present": [prompts], "absent": [prompts]}."""


class Classified(Answer):
    """The findings of one image."""

    index: int
    id: str | None = None
    findings: list[FindingOut]
    warnings: list[str]
    """Reasons to doubt that the image is an upright chest radiograph."""


class Classification(Answer):
    """Answer of /classify. Items have the order of the request."""

    bundle: BundleName
    scoring: ScoringKind
    """What a probability is where it is not calibrated. softmax: present against absent prompts.
    sigmoid: the model's own, that the image and the present prompts belong together."""
    items: list[Classified | FailedItem]


@router.post("/classify")
async def classify(request: Request, wired: Wired) -> Classification:
    """Returns each image's findings, by a label set of the bundle or by the caller's labels."""
    uploads, parameters = await read_input(request, ClassifyParameters, wired.settings.max_images)
    work = Work(request, items=len(uploads))
    classifier = await work.run(_classifier, wired, parameters)
    outcomes = await work.run(encode_uploads, wired.encoder, some_images(uploads))

    def answered(index: int, encoded: EncodedImage) -> Classified:
        return Classified(
            index=index,
            id=uploads[index].id,
            findings=[FindingOut.model_validate(each) for each in classifier(encoded.vector)],
            warnings=list(encoded.facts.warnings),
        )

    items = batch_items(
        [_unless_refused(outcome) for outcome in outcomes],
        answered,
        [upload.id for upload in uploads],
    )
    return Classification(
        bundle=BundleName.of(wired.bundle), scoring=classifier.scoring, items=items
    )


def _unless_refused(outcome: EncodedImage | EclipError) -> EncodedImage | EclipError:
    if isinstance(outcome, EncodedImage):
        return refusal([outcome.facts]) or outcome
    return outcome


def _classifier(wired: Services, parameters: ClassifyParameters, deadline: Deadline) -> Classifier:
    wired.bundle.manifest.require_text()
    if parameters.labels is not None:
        return Classifier(_prompts(parameters.labels), wired.encoder, deadline)
    name = parameters.label_set or next(iter(wired.classifiers), "")
    if name not in wired.classifiers:
        names = " or ".join(wired.classifiers)
        raise LabelSetUnknown(
            f"The bundle has no label set of this name. Use {names}, or send your own `labels`."
            if names
            else "The bundle has no label set. Send your own `labels`."
        )
    return wired.classifiers[name]


def _prompts(labels: dict[str, Any]) -> dict[str, Prompts]:
    if len(labels) > MAX_LABELS:
        raise LabelsInvalid(
            f"The request has {len(labels)} labels, over the limit of {MAX_LABELS}. Send fewer."
        )
    if any(isinstance(label, dict) and not label.get("present") for label in labels.values()):
        raise LabelsEmpty("A label has no `present` prompt. Give each label at least one.")
    try:
        return _LABELS.validate_python(labels)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise LabelsInvalid(
            f"A label cannot be read: {first['msg']}. Send each label as "
            "{present: [prompts], absent: [prompts]}."
        ) from None
