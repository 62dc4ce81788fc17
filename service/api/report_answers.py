"""Holds the answer of /generate-report: the report, its evidence, and how each was checked."""

from typing import Annotated, Literal

from pydantic import Field

from service.api.answers import Answer, BundleName, FindingOut
from service.cases.own_ids import Origin, OwnIds
from service.reporting.background import PriorFrom
from service.reporting.report import Report
from service.reporting.sentences import Sentence


class BoxOut(Answer):
    """A box in an image, in fractions of the whole image's width and height."""

    left: float
    top: float
    width: float
    height: float


class PointedRegion(Answer):
    """Where the map of a sentence's finding points."""

    finding: str
    """The finding of `classification` that the sentence affirms."""
    view: int
    """Place of the frontal view among the images of the request, from 0."""
    zone: str | None
    """A side of the patient and a third of the lung fields, such as `left lower`; null if most of
    what is pointed at lies outside the lung fields."""
    box: BoxOut
    """The box around the largest connected part of the map's upper decile."""
    lungs_found: bool
    """Whether the lung fields were found. If not, the zone is one of the whole exposed field."""
    agrees: Literal["agrees", "disagrees", "unclear"] | None
    """Whether the map lies on the side that the sentence names; null if it names none or both."""


class SentenceOut(Answer):
    """A sentence of the report, what it cites, and how it was checked."""

    sentence: str
    evidence: list[int]
    """Numbers of the evidence that the sentence cites."""
    support: float
    status: Literal["supported", "contradicted", "unsupported"]
    against: list[int]
    """Numbers of all evidence that says the opposite."""
    zero_shot: Literal["agrees", "disagrees"] | None
    """The classifier's verdict, if it is sure about a finding that the sentence names."""
    region: Annotated[PointedRegion | None, Field(exclude_if=lambda region: region is None)] = None
    """Where the finding of the sentence points. Absent unless the bundle's map of texts is
    validated, a view is frontal, and the sentence affirms one finding."""

    @classmethod
    def of(cls, sentence: Sentence) -> "SentenceOut":
        """Returns the sentence in the answer's form."""
        return cls(
            sentence=sentence.text,
            evidence=list(sentence.evidence),
            support=sentence.support,
            status=sentence.status,
            against=list(sentence.against),
            zero_shot=sentence.zero_shot,
            region=sentence.region and PointedRegion.model_validate(sentence.region),
        )


class EvidenceOut(Answer):
    """A passage that the report may cite."""

    number: int
    passage_id: str
    study_id: str
    section: str
    text: str
    score: float


class ReportOut(Answer):
    """The text of the report."""

    findings: list[SentenceOut]
    impression: list[SentenceOut]


class GeneratorOut(Answer):
    """The writer of the report."""

    kind: Literal["vllm", "extractive"]
    model: str
    passages: int
    """Number of passages that the writer was given."""
    fallback: str | None
    """Why the language model did not write the report, if it should have."""


class ProvenanceOut(Answer):
    """What is needed to write the same report again."""

    bundle_id: str
    prompt: str | None
    seed: int
    k: int
    software: str
    record: str
    """Id of the audit record, for `eclip report --replay`."""


class GeneratedReport(Answer):
    """Answer of /generate-report."""

    bundle: BundleName
    report: ReportOut
    withheld: list[SentenceOut]
    """Drafted sentences that the evidence does not support."""
    evidence: list[EvidenceOut]
    prior: list[str]
    """Sentences of the prior study that the language model read."""
    prior_study_id: str | None
    """Reference of the prior study, an earlier one of the same patient; null without one."""
    prior_from: PriorFrom | None
    """Who named the prior study: the `request`, or the `library`, by the dates of the DICOM files;
    null without one."""
    classification: list[FindingOut]
    generator: GeneratorOut
    provenance: ProvenanceOut
    abstained: str | None
    """Why there is no report; null when there is one."""
    warnings: list[str]
    """Reasons to doubt that an image is an upright chest radiograph."""
    patient_id_from: Origin | None
    """Who named the patient whose cases are no evidence: `exclude` of the request, or the PatientID
    of the DICOM files; null if nobody did."""
    study_id_from: Origin | None
    """Who named the study that is no evidence, likewise by `exclude` or the StudyInstanceUID."""

    @classmethod
    def of(cls, report: Report, bundle: BundleName, ids: OwnIds) -> "GeneratedReport":
        """Returns the report in the answer's form."""
        return cls(
            bundle=bundle,
            report=ReportOut(
                findings=[SentenceOut.of(sentence) for sentence in report.findings],
                impression=[SentenceOut.of(sentence) for sentence in report.impression],
            ),
            withheld=[SentenceOut.of(sentence) for sentence in report.withheld],
            evidence=[EvidenceOut.model_validate(item) for item in report.evidence],
            prior=list(report.prior),
            prior_study_id=report.prior_study_id,
            prior_from=report.prior_from,
            classification=[FindingOut.model_validate(f) for f in report.classification],
            generator=GeneratorOut.model_validate(report.generator),
            provenance=ProvenanceOut.model_validate(report.provenance),
            abstained=report.abstained,
            warnings=list(report.warnings),
            patient_id_from=ids.patient_id_from,
            study_id_from=ids.study_id_from,
        )
