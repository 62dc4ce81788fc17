"""Makes the archive of a small department: radiographs, reports, and what else lies beside them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset, dcmread, uid

from tests.service.imaging.conftest import dicom_bytes
from tests.support.archive import archived
from tests.support.pictures import hand
from tests.support.synthetic import radiograph

SYNTAXES = (
    uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1,
    uid.ImplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000, uid.JPEGExtended12Bit,
    uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian,
)  # fmt: skip
FINDINGS = (
    "The lungs are clear.", "Small left pleural effusion.", "Moderate cardiomegaly.",
    "Right apical pneumothorax.", "Patchy opacity in the left lower lobe.",
)  # fmt: skip
FIRST_DAY = date(2026, 1, 1)
CHESTS = 56
"""Studies that are stored. Each odd one has two views, each third one a report."""


@dataclass
class Department:
    """Files by their SOPInstanceUID. others: those that a pull leaves where they are."""

    files: dict[str, bytes] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)

    def add(self, *files: bytes) -> None:
        """Adds files under their UIDs."""
        for file in files:
            self.files[str(header(file).SOPInstanceUID)] = file

    @property
    def studies(self) -> set[str]:
        """The StudyInstanceUIDs."""
        return {str(header(file).StudyInstanceUID) for file in self.files.values()}


def header(file: bytes) -> Dataset:
    """Returns the elements of a file, without its pixels."""
    return dcmread(io.BytesIO(file), stop_before_pixels=True)


def department() -> Department:
    """Returns 61 studies: chests, two hands, a truncated image, one with a CT, one without image.

    Two studies each are of one patient. Their days follow one another.
    """
    made = Department()
    for number in range(CHESTS):
        made.add(*chest(number))
    for number in (CHESTS, CHESTS + 1):
        pixels = hand(number).astype(np.uint16) << 4
        made.add(image(number, 0, uid.JPEG2000Lossless, pixels, BodyPartExamined="HAND"))
    made.add(broken(CHESTS + 2))
    made.add(image(CHESTS + 3, 0))
    ct = image(CHESTS + 3, 1, SOPClassUID=uid.CTImageStorage, Modality="CT")
    made.add(ct)
    made.others.add(str(header(ct).SOPInstanceUID))
    alone = report(header(image(CHESTS + 4, 0)), number=1, basic=False)
    made.add(alone)
    made.others.add(str(header(alone).SOPInstanceUID))
    return made


def chest(number: int, views: int | None = None) -> Iterator[bytes]:
    """Yields the objects of a study."""
    count = views or 1 + number % 2
    images = [
        image(number, view, SYNTAXES[(number + view) % len(SYNTAXES)], ViewPosition=position)
        for view, position in zip(range(count), ("PA", "LL", "AP"), strict=False)
    ]
    yield from images
    if number % 3 == 0:
        yield report(header(images[0]), number, basic=number % 2 == 0)


def image(
    number: int,
    view: int,
    syntax: uid.UID = uid.ExplicitVRLittleEndian,
    pixels: np.ndarray | None = None,
    **elements: object,
) -> bytes:
    """Returns a radiograph of a study, in its stored syntax."""
    identity = {
        "StudyInstanceUID": uid_of(number),
        "SeriesInstanceUID": f"{uid_of(number)}.{view + 1}",
        "SOPInstanceUID": f"{uid_of(number)}.{view + 1}.1",
        "PatientID": f"MRN-{number // 2:04}",
        "PatientName": f"Invented^Person {number // 2}",
        "PatientBirthDate": "19500101",
        "PatientSex": "O",
        "AccessionNumber": f"A{number:05}",
        "StudyDate": f"{FIRST_DAY + timedelta(days=number):%Y%m%d}",
        "StudyTime": "120000",
        "StudyID": str(number),
        "SeriesNumber": view + 1,
        "InstanceNumber": 1,
        "Modality": "DX",
        "SOPClassUID": uid.DigitalXRayImageStorageForPresentation,
        "BodyPartExamined": "CHEST",
    }
    pixels = _pixels(number, view) if pixels is None else pixels
    return archived(syntax, pixels, 12, **identity | elements)


def broken(number: int) -> bytes:
    """Returns a radiograph that ends in the middle of its pixels, with a sound header."""
    whole = dcmread(io.BytesIO(image(number, 0)))
    whole.PixelData = whole.PixelData[: len(whole.PixelData) // 2]
    return dicom_bytes(whole)


def report(of: Dataset, number: int, *, basic: bool) -> bytes:
    """Returns a report of an image's study: a Basic Text SR, or a Comprehensive SR of TID 2000."""
    content = _container("18748-4", "LN", "Diagnostic imaging report", "2000")
    content.ContentSequence = [
        _section("121070", "Findings", "121071", "Finding", FINDINGS[number % len(FINDINGS)]),
        _section("121076", "Conclusions", "121077", "Conclusion", f"Study {number} was read."),
    ]
    study = str(of.StudyInstanceUID)
    made = ComprehensiveSR(
        evidence=[of],
        content=content,
        series_instance_uid=f"{study}.9",
        series_number=9,
        sop_instance_uid=f"{study}.9.1",
        instance_number=1,
        manufacturer="Invented",
        is_complete=True,
        is_final=True,
        is_verified=True,
        verifying_observer_name="Invented^Reader",
        verifying_organization="Invented",
    )
    made.StudyDate, made.StudyTime = of.StudyDate, of.StudyTime
    if basic:
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = uid.BasicTextSRStorage
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def uid_of(number: int) -> str:
    """Returns the StudyInstanceUID of a study."""
    return f"{uid.PYDICOM_ROOT_UID}21.{1000 + number}"


def _container(value: str, scheme: str, meaning: str, template: str | None = None) -> Dataset:
    related = None if template else RelationshipTypeValues.CONTAINS
    concept = CodedConcept(value, scheme, meaning)
    return ContainerContentItem(concept, template_id=template, relationship_type=related)


def _section(value: str, meaning: str, of: str, name: str, text: str) -> Dataset:
    section = _container(value, "DCM", meaning)
    concept = CodedConcept(of, "DCM", name)
    section.ContentSequence = [TextContentItem(concept, text, RelationshipTypeValues.CONTAINS)]
    return section


@lru_cache(maxsize=1)
def _chest() -> np.ndarray:
    return radiograph(256, 224, 12)


def _pixels(number: int, view: int) -> np.ndarray:
    """Returns a chest of its own for each view of each study."""
    shade = 0.8 + 0.2 * np.sin(number + 0.5 * view)
    return np.rint(_chest() * shade).astype(np.uint16)
