"""The shapes of answers, as API.md gives them."""

import base64
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from service.api.problems import describe
from service.bundle.manifest import Bundle
from service.cases.schema import Hit, Metadata, Part, Study
from service.errors import AllItemsFailed, EclipError
from service.imaging.radiograph import RadiographFacts

RETRYABLE = frozenset({429, 503, 504})
Encoding = Literal["float", "base64"]
Vector = Annotated[
    list[float] | str,
    Field(description="float32[D], unit length; with `encoding=base64` its little-endian bytes"),
]


class Answer(BaseModel):
    """Base of every answer; reads dataclasses by attribute."""

    model_config = ConfigDict(from_attributes=True)


class BundleName(Answer):
    """Which bundle made the vectors."""

    name: str
    version: str
    id: str

    @classmethod
    def of(cls, bundle: Bundle) -> "BundleName":
        """Name the bundle."""
        return cls.model_validate(bundle.manifest)


class ItemError(Answer):
    """Why one item of a batch failed."""

    type: str
    title: str
    detail: str


class FailedItem(Answer):
    """An item of a batch that failed; its neighbours are not affected."""

    index: int
    id: str | None = None
    error: ItemError

    @classmethod
    def of(cls, index: int, item_id: str | None, error: EclipError) -> "FailedItem":
        """Shape a typed error."""
        return cls(index=index, id=item_id, error=ItemError(**describe(error)))


class WindowOut(Answer):
    """The stored values that became black and white."""

    low: float
    high: float
    source: str


class ImageFacts(Answer):
    """What the decoder found."""

    format: Literal["dicom", "jpeg", "png"]
    rows: int
    columns: int
    view: str | None
    inverted: bool
    window: WindowOut


class ImageEmbedding(Answer):
    """One embedded image."""

    index: int
    id: str | None = None
    embedding: Vector
    image: ImageFacts


class ImageEmbeddings(Answer):
    """Answer of /embed/image, items in the order of the request."""

    bundle: BundleName
    items: list[ImageEmbedding | FailedItem]


class TextEmbedding(Answer):
    """One embedded text."""

    index: int
    embedding: Vector
    tokens: int
    truncated: bool


class TextEmbeddings(Answer):
    """Answer of /embed/text."""

    bundle: BundleName
    items: list[TextEmbedding]


class FindingOut(Answer):
    """A label's verdict on one image."""

    label: str
    similarity: float
    probability: Annotated[
        float | None, Field(description="calibrated if `calibrated`; null without absent prompts")
    ]
    calibrated: bool
    abstained: bool


class Classified(Answer):
    """One classified image."""

    index: int
    id: str | None = None
    findings: list[FindingOut]


class Classification(Answer):
    """Answer of /classify."""

    bundle: BundleName
    items: list[Classified | FailedItem]


class HitOut(Answer):
    """One found part of a study."""

    score: Annotated[
        float, Field(description="cosine; in sparse mode BM25; in hybrid mode the fused ranks'")
    ]
    part: Part
    study_id: str
    text: str | None
    passage_id: str | None
    section: str | None
    view: str | None
    source: str
    findings: list[str]
    metadata: Metadata
    image_url: str | None

    @classmethod
    def of(cls, hit: Hit) -> "HitOut":
        """Shape a hit."""
        index = hit.image_index
        url = None if index is None else f"/studies/{hit.study_id}/image?index={index}"
        fields = {name: getattr(hit, name) for name in cls.model_fields if name != "image_url"}
        return cls(**fields | {"findings": list(hit.findings), "image_url": url})


class Retrieval(Answer):
    """Answer of /retrieve."""

    bundle: BundleName
    hits: list[HitOut]
    abstained: Annotated[bool, Field(description="true when no hit passed")]


class SentenceOut(Answer):
    """A sentence and the evidence numbers it cites."""

    sentence: str
    evidence: list[int]
    support: float
    status: Literal["supported", "contradicted", "unsupported"]
    against: Annotated[list[int], Field(description="all evidence that says the opposite")]
    zero_shot: Annotated[
        Literal["agrees", "disagrees"] | None,
        Field(description="what the classifier says, where it is sure of a finding named here"),
    ]


class EvidenceOut(Answer):
    """A passage that the report may cite."""

    number: int
    passage_id: str
    study_id: str
    section: str
    text: str
    score: float


class ReportOut(Answer):
    """The report's text."""

    findings: list[SentenceOut]
    impression: list[SentenceOut]


class GeneratorOut(Answer):
    """Who wrote it."""

    kind: Literal["vllm", "extractive"]
    model: str
    passages: Annotated[int, Field(description="how many of the evidence it was given")]
    fallback: Annotated[
        str | None, Field(description="why the language model did not write it, where it was to")
    ]


class ProvenanceOut(Answer):
    """What it takes to make it again."""

    bundle_id: str
    prompt: str | None
    seed: int
    k: int
    software: str
    record: Annotated[str, Field(description="of the audit log, for `eclip report --replay`")]


class GeneratedReport(Answer):
    """Answer of /generate-report."""

    bundle: BundleName
    report: ReportOut
    withheld: Annotated[list[SentenceOut], Field(description="drafted, refused by grounding")]
    evidence: list[EvidenceOut]
    prior: Annotated[list[str], Field(description="what the model read of the prior study")]
    classification: list[FindingOut]
    generator: GeneratorOut
    provenance: ProvenanceOut
    abstained: Annotated[str | None, Field(description="why there is no report, else null")]


class PassageOut(Answer):
    """One sentence of a stored report."""

    id: str
    section: str
    text: str


class StoredImage(Answer):
    """One image of a stored study."""

    view: str | None
    url: str


class StudyCounts(Answer):
    """What the library holds: value → number of studies that have it."""

    studies: int
    source: dict[str, int]
    view: dict[str, int]
    findings: dict[str, int]


class PatientRemoved(Answer):
    """Answer of DELETE /patients."""

    studies: Annotated[int, Field(description="how many were removed")]


class StudyOut(Answer):
    """A stored study; its ids are keyed hashes."""

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
        """Shape a study."""
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
    """Answer of POST /studies."""

    bundle: BundleName
    items: list[StudyItem | FailedItem]


class AttentionMap(Answer):
    """Answer of /attention: cosine of each patch with the text, rows top to bottom."""

    bundle: BundleName
    grid: list[list[float]]
    overlay: Annotated[str | None, Field(description="PNG, base64, when `overlay=true`")]


class OpenAIEmbedding(Answer):
    """One embedding in OpenAI's form."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Vector


class OpenAIUsage(Answer):
    """Tokens read; 0 for images."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(Answer):
    """Answer of /v1/embeddings."""

    object: Literal["list"] = "list"
    model: str
    data: list[OpenAIEmbedding]
    usage: OpenAIUsage


class BundleOut(Answer):
    """Answer of /bundle."""

    manifest: dict[str, Any]
    label_sets: dict[str, list[str]]
    metrics: dict[str, float]
    model_card: str


def pack(vector: npt.NDArray[np.float32], encoding: Encoding) -> list[float] | str:
    """float32[D] in the encoding the caller asked for."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    floats: list[float] = vector.tolist()
    return floats


def image_facts(facts: RadiographFacts) -> ImageFacts:
    """What the decoder found."""
    return ImageFacts.model_validate(facts)


def checked(items: list[Any], errors: list[EclipError]) -> list[Any]:
    """The items, unless every one failed: then AllItemsFailed with all of them, or the one error
    itself, when there is only one or when the service, not the items, is to blame.
    """
    if len(errors) < len(items) or not items:
        return items
    if len(errors) == 1 or all(error.status in RETRYABLE for error in errors):
        raise errors[0]
    raise AllItemsFailed(
        f"None of the {len(items)} items could be processed; `items` says why.",
        extensions={"items": [item.model_dump(mode="json") for item in items]},
    )
