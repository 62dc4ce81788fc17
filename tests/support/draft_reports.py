"""Makes finished reports, and headers of the images that they are about."""

from datetime import UTC, datetime

from pydicom.dataset import Dataset

from service.inference.zero_shot import Finding
from service.reporting.report import Provenance, Report
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy
from tests.support.evidence import passage

WRITTEN = datetime(2026, 11, 30, 20, 15, 30, tzinfo=UTC)
PROVENANCE = Provenance(
    "b" * 64, None, 0, 8, "eclip-radiology 9.8.7", "2026-11-30-0123456789abcdef"
)
CLASSIFICATION = (
    Finding("pleural effusion", 0.41, 0.8125, True, False),
    Finding("pneumothorax", 0.2, 0.5, True, True),
    Finding("cardiomegaly", 0.1, 4.53612e-05, False, False),
    Finding("Swan-Ganz catheter", 0.3, None, False, False),
)


def draft_report(**changes: object) -> Report:
    """Returns a report with evidence for, evidence against and all kinds of verdicts."""
    parts = {
        "findings": (
            Sentence("Small left pleural effusion.", (1, 3), 0.95, "supported", (), "agrees"),
            Sentence("No pneumothorax.", (2,), 1.0, "supported", (3,), "disagrees"),
        ),
        "impression": (Sentence("Pleural effusion on the left.", (3,), 1.0, "supported"),),
        "withheld": (Sentence("A withheld sentence.", (), 0.0, "unsupported"),),
        "evidence": tuple(
            passage(number, f"What passage {number} says.", study_id=f"stu_{number:032x}")
            for number in range(1, 5)
        ),
        "prior": (),
        "classification": CLASSIFICATION,
        "generator": WrittenBy("extractive", "extractive-1", 4),
        "provenance": PROVENANCE,
        "abstained": None,
    }
    return Report(**parts | changes)


def image_header(number: int = 1, **elements: object) -> Dataset:
    """Returns the header of an image. elements: of it; None leaves one out."""
    header = Dataset()
    given = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": f"1.2.826.0.1.3680043.8.498.1.{number}",
        "SeriesInstanceUID": f"1.2.826.0.1.3680043.8.498.2.{number}",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.3",
        "Modality": "DX",
        "PatientID": "PID-4711",
        "PatientName": "Muster^Erika",
        "PatientBirthDate": "19500102",
        "PatientSex": "F",
        "StudyDate": "20261130",
        "StudyTime": "101112",
        "StudyID": "S1",
        "AccessionNumber": "ACC-17",
        "ReferringPhysicianName": "Beispiel^Bernd",
    } | elements
    for keyword, value in given.items():
        if value is not None:
            setattr(header, keyword, value)
    return header
