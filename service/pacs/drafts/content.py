"""Builds the content tree of a draft report, like the diagnostic imaging report of TID 2000.

    Diagnostic Imaging Report
      language, and the device that observed: this program, its version and bundle
      Findings, Impressions
        a sentence: its status, its support, the classifier's verdict, where its finding points
          the passages that it cites, and those that deny it, with their numbers
        its numbers once more, with what a reader must know before believing it
      Evidence: the passages
      Notes: why there is no report, warnings, who wrote it, the audit record, the disclaimer
      Classification
        a label: its probability, or that it is uncertain
      Image Library: the images that were read

A passage is another patient's: its number and text are given, and nothing of whose it is.

OHIF's viewer (@ohif/extension-cornerstone-dicom-sr 3.13.13) shows what a container contains, and
nothing below a text, a code or a number. So all that a reader needs is directly in a container.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    NumContentItem,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from service.inference.zero_shot import Finding
from service.pacs.drafts.codes import finding_code, own_code
from service.pacs.drafts.dicom_text import long_text
from service.pacs.drafts.result_uids import device_uid
from service.reporting.formats import DISCLAIMER, basis, cited_passages, where
from service.reporting.report import Report
from service.reporting.sentences import Sentence
from service.studies.own_drafts import MANUFACTURER

MODEL = "Draft reports of chest radiographs"
"""Name of this program as a device (0008,1090)."""
_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
_ENGLISH = Code("en", "RFC5646", "English")
_DEVICE = Code("121007", "DCM", "Device")
_FINDINGS, _IMPRESSIONS = Code("59776-5", "LN", "Findings"), Code("19005-8", "LN", "Impressions")
_FINDING, _IMPRESSION = Code("121071", "DCM", "Finding"), Code("121073", "DCM", "Impression")
_PROBABILITY = Code("122157", "DCM", "Probability")
_UNCERTAIN = Code("64957009", "SCT", "Uncertain")
_LIBRARY = Code("111028", "DCM", "Image Library")
_GROUP = Code("126200", "DCM", "Image Library Group")
_SOURCE = Code("260753009", "SCT", "Source")
_ONE = Code("1", "UCUM", "no units")
_PASSAGE = own_code("PASSAGE", "Cited passage of another case")
_BASIS = own_code("BASIS", "Passages, and flags")
_LISTED = own_code("LISTED_PASSAGE", "Passage of another case")
_DENIED = own_code("DENIED_BY", "Passage of another case that denies it")
_STATUS = own_code("STATUS", "Support by the passages")
_STATUSES = {
    "supported": own_code("SUPPORTED", "Supported"),
    "contradicted": own_code("CONTRADICTED", "Contradicted"),
    "unsupported": own_code("UNSUPPORTED", "Unsupported"),
}
_SUPPORT = own_code("SUPPORT", "Degree of support, 0 to 1")
_VERDICT = own_code("VERDICT", "Verdict of the classifier")
_VERDICTS = {
    "agrees": own_code("AGREES", "The classifier agrees"),
    "disagrees": own_code("DISAGREES", "The classifier disagrees"),
}
_POINTED = own_code("MAP_REGION", "Where the map of the finding points")
_CLASSIFICATION = own_code("CLASSIFICATION", "Classification by software")
_SIMILARITY = own_code("SIMILARITY", "Cosine similarity to the label, -1 to 1")
_CALIBRATION = own_code("CALIBRATION", "Calibration of the probability")
_CALIBRATED = {
    True: own_code("CALIBRATED", "Calibrated"),
    False: own_code("UNCALIBRATED", "Not calibrated"),
}
_SOFTWARE = own_code("SOFTWARE", "Version of the software")
_BUNDLE = own_code("BUNDLE", "Id of the model bundle")
_EVIDENCE = own_code("EVIDENCE", "Evidence from other cases")
_NOTES = own_code("NOTES", "Notes")
_NO_REPORT = own_code("NO_REPORT", "Why there is no report")
_WARNING = own_code("WARNING", "Warning")
_WRITER = own_code("WRITER", "Writer of the draft")
_FALLBACK = own_code("FALLBACK", "Why the language model did not write it")
_PRIOR = own_code("PRIOR", "Earlier study")
_RECORD = own_code("AUDIT_RECORD", "Id of the audit record")
_WRITTEN = own_code("WRITTEN", "Time of writing")
_DISCLAIMER = own_code("DISCLAIMER", "Disclaimer")
_CONTAINS, _HAS = RelationshipTypeValues.CONTAINS, RelationshipTypeValues.HAS_PROPERTIES
_INFERRED = RelationshipTypeValues.INFERRED_FROM
_OBSERVED = RelationshipTypeValues.HAS_OBS_CONTEXT
_DIGITS = 4
"""Significant digits of probabilities and similarities: a probability by sigmoid can be small."""


def content_of(report: Report, images: Sequence[Dataset], written: datetime) -> ContentItem:
    """Returns the root of the tree. images: headers of the images that were read."""
    root = ContainerContentItem(_REPORT, is_content_continuous=False, template_id="2000")
    parts = (
        (_FINDINGS, _sentences(_FINDING, report.findings, report)),
        (_IMPRESSIONS, _sentences(_IMPRESSION, report.impression, report)),
        (_EVIDENCE, _evidence(report)),
        (_NOTES, list(_notes(report, written))),
        (_CLASSIFICATION, [_classified(finding) for finding in report.classification]),
        (_LIBRARY, [_container(_GROUP, [_image(image) for image in images])]),
    )
    containers = [_container(name, items) for name, items in parts if items]
    root.ContentSequence = ContentSequence([*_context(report), *containers])
    return root


def _context(report: Report) -> Iterator[ContentItem]:
    """Yields the language and the observer (TID 1204 and 1004)."""
    made = report.provenance
    yield from LanguageOfContentItemAndDescendants(CodedConcept.from_code(_ENGLISH))
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(made), name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=MODEL
    )
    yield from ObserverContext(CodedConcept.from_code(_DEVICE), device)
    yield _text(_SOFTWARE, made.software, _OBSERVED)
    yield _text(_BUNDLE, made.bundle_id, _OBSERVED)


def _sentences(name: Code, sentences: Sequence[Sentence], report: Report) -> list[ContentItem]:
    passages = {item.number: f"[{item.number}] {item.text}" for item in report.evidence}
    return [
        item
        for each in sentences
        if long_text(each.text)
        for item in (_sentence(name, each, passages), _text(_BASIS, basis(each), _CONTAINS))
    ]


def _sentence(name: Code, sentence: Sentence, passages: dict[int, str]) -> ContentItem:
    """Returns a sentence with what it was inferred from. passages: by number."""
    under: list[ContentItem] = [_code(_STATUS, _STATUSES[sentence.status], _HAS)]
    under.append(_number(_SUPPORT, sentence.support, _HAS))
    if sentence.zero_shot is not None:
        under.append(_code(_VERDICT, _VERDICTS[sentence.zero_shot], _HAS))
    if sentence.region is not None:
        under.append(_text(_POINTED, where(sentence.region), _HAS))
    under += [_text(_PASSAGE, passages[number], _INFERRED) for number in sentence.evidence]
    under += [_text(_DENIED, passages[number], _HAS) for number in sentence.against]
    return _with(_text(name, sentence.text, _CONTAINS), under)


def _evidence(report: Report) -> list[ContentItem]:
    passages = cited_passages(report, [*report.findings, *report.impression])
    return [_text(_LISTED, passage, _CONTAINS) for passage in passages]


def _notes(report: Report, written: datetime) -> Iterator[ContentItem]:
    """Yields what a reader must know of the draft as a whole.

    The time is a text: dcmtk 3.6.7 cannot read a report with a DATETIME item of offset +0000.
    """
    generator = report.generator
    if report.abstained:
        yield _text(_NO_REPORT, report.abstained, _CONTAINS)
    for warning in report.warnings:
        yield _text(_WARNING, warning, _CONTAINS)
    yield _text(_WRITER, generator.model, _CONTAINS)
    if generator.fallback:
        yield _text(_FALLBACK, generator.fallback, _CONTAINS)
    if report.prior:
        yield _text(_PRIOR, _PRIOR_READ, _CONTAINS)
    yield _text(_WRITTEN, written.isoformat(timespec="seconds"), _CONTAINS)
    yield _text(_RECORD, report.provenance.record, _CONTAINS)
    yield _text(_DISCLAIMER, DISCLAIMER, _CONTAINS)


_PRIOR_READ = "The language model also read the report of an earlier study of this patient."


def _classified(finding: Finding) -> ContentItem:
    """Returns the verdict on a label: uncertain, its probability, or else its similarity."""
    if finding.abstained:
        said = [_code(_VERDICT, _UNCERTAIN, _CONTAINS)]
    elif finding.probability is None:
        said = [_number(_SIMILARITY, finding.similarity, _CONTAINS)]
    else:
        said = [
            _number(_PROBABILITY, finding.probability, _CONTAINS),
            _code(_CALIBRATION, _CALIBRATED[finding.calibrated], _CONTAINS),
        ]
    return _container(finding_code(finding.label), said)


def _image(image: Dataset) -> ContentItem:
    return ImageContentItem(
        _SOURCE, image.SOPClassUID, image.SOPInstanceUID, relationship_type=_CONTAINS
    )


def _container(name: Code, items: Sequence[ContentItem]) -> ContentItem:
    return _with(ContainerContentItem(name, False, relationship_type=_CONTAINS), items)


def _with(item: ContentItem, under: Sequence[ContentItem]) -> ContentItem:
    item.ContentSequence = ContentSequence(under)
    return item


def _text(name: Code, text: str, relation: RelationshipTypeValues) -> ContentItem:
    return TextContentItem(name, long_text(text) or "-", relation)


def _code(name: Code, value: Code, relation: RelationshipTypeValues) -> ContentItem:
    return CodeContentItem(name, value, relation)


def _number(name: Code, value: float, relation: RelationshipTypeValues) -> ContentItem:
    number = float(f"{value:.{_DIGITS}g}")
    return NumContentItem(name, number, _ONE, relationship_type=relation)
