"""Makes structured reports: their content items, and files of them by pydicom."""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ExtensibleSRStorage,
    generate_uid,
)

from tests.service.imaging.conftest import dicom_bytes

CLASSES = {
    "basic": BasicTextSRStorage,
    "enhanced": EnhancedSRStorage,
    "comprehensive": ComprehensiveSRStorage,
    "comprehensive 3D": Comprehensive3DSRStorage,
    "extensible": ExtensibleSRStorage,
}
FINDINGS, FINDING = ("121070", "DCM", "Findings"), ("121071", "DCM", "Finding")
IMPRESSIONS, IMPRESSION = ("121072", "DCM", "Impressions"), ("121073", "DCM", "Impression")
TITLE = ("18748-4", "LN", "Diagnostic imaging report")
MODIFIES, CONTAINS, OBSERVES = "HAS CONCEPT MOD", "CONTAINS", "HAS OBS CONTEXT"
INFERRED, PROPERTY = "INFERRED FROM", "HAS PROPERTIES"

Code = tuple[str, str, str]
"""Value, scheme and meaning."""


def coded(code: Code) -> Dataset:
    """Returns the item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def content_item(
    kind: str,
    concept: Code | None,
    below: Iterable[Dataset] = (),
    relation: str = CONTAINS,
    **elements: object,
) -> Dataset:
    """Returns a content item of a value type. elements: those of its value."""
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    if concept:
        item.ConceptNameCodeSequence = [coded(concept)]
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    if below := list(below):
        item.ContentSequence = below
    return item


def section(concept: Code | None, *below: Dataset, **elements: object) -> Dataset:
    """Returns a CONTAINER."""
    return content_item("CONTAINER", concept, below, ContinuityOfContent="SEPARATE", **elements)


def said(text: str, concept: Code | None = FINDING, *below: Dataset, **more: object) -> Dataset:
    """Returns a TEXT item."""
    return content_item("TEXT", concept, below, TextValue=text, **more)


def code(value: Code, concept: Code | None = FINDING, *below: Dataset, **more: object) -> Dataset:
    """Returns a CODE item."""
    return content_item("CODE", concept, below, ConceptCodeSequence=[coded(value)], **more)


def measured(value: str, unit: Code, concept: Code, *below: Dataset, **more: object) -> Dataset:
    """Returns a NUM item."""
    number = Dataset()
    number.NumericValue, number.MeasurementUnitsCodeSequence = value, [coded(unit)]
    return content_item("NUM", concept, below, MeasuredValueSequence=[number], **more)


def person(name: str, concept: Code = ("121008", "DCM", "Person Observer Name")) -> Dataset:
    """Returns a PNAME item of the observer's context."""
    return content_item("PNAME", concept, relation=OBSERVES, PersonName=name)


def report_dataset(*content: Dataset, **elements: object) -> Dataset:
    """Returns a finished Enhanced SR of study 1.2.3. elements: other values; None: leave it out."""
    dataset = Dataset()
    values = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": EnhancedSRStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyDate": "20260312",
        "ContentDate": "20260312",
        "ContentTime": "101500",
        "Modality": "SR",
        "Manufacturer": "Test",
        "PatientName": "",
        "PatientID": "p1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": generate_uid(),
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": [coded(TITLE)],
        "ContinuityOfContent": "SEPARATE",
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "UNVERIFIED",
        "ContentSequence": list(content),
    } | elements
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def report_file(
    *content: Dataset, syntax: UID = ExplicitVRLittleEndian, **elements: object
) -> bytes:
    """Returns the file of such a report."""
    return dicom_bytes(report_dataset(*content, **elements), syntax)


def plain_report(findings: str, impression: str = "", **elements: object) -> bytes:
    """Returns the file of a report with these findings and, if there is one, this impression."""
    content = [section(FINDINGS, said(findings))]
    if impression:
        content.append(section(IMPRESSIONS, said(impression, IMPRESSION)))
    return report_file(*content, **elements)


def undefined_lengths(dataset: Dataset) -> Dataset:
    """Returns the dataset, to be written with sequences and items of undefined length."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                undefined_lengths(item)
    return dataset
