"""Refuses DICOM files whose header names another body part than the chest.

What decides are Body Part Examined and the coded regions. Where they say nothing that is known,
the descriptions of the view, the procedure, the series and the study do. What is absent, blank or
unknown passes, and so does what names the chest beside another region.
"""

from pydicom.dataset import Dataset

from service.errors import ImageNotARadiograph
from service.imaging.dicom.body_parts import CHEST, UNCLEAR, described_regions, stated_regions
from service.imaging.dicom.codes import meanings
from service.imaging.dicom.elements import text

STATEMENTS = ("BodyPartExamined", "AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")
"""Elements that state which body part was imaged (PS3.3 C.7.3.1, 10.5)."""
DESCRIPTIONS = (
    "ViewPosition", "ViewCodeSequence",
    "AcquisitionDeviceProcessingDescription", "ProtocolName", "PerformedProtocolCodeSequence",
    "PerformedProcedureStepDescription", "SeriesDescription", "ProcedureCodeSequence",
    "RequestedProcedureCodeSequence", "RequestedProcedureDescription", "StudyDescription",
)  # fmt: skip
"""Elements that decide where no statement does; most are free text, and may hold a name."""


def check_region(dataset: Dataset) -> None:
    """Raises ImageNotARadiograph where the header names another region and not the chest.

    The error has the region in our own words, because the header's could name a patient.
    """
    named = _named(dataset)
    if named and not {CHEST, UNCLEAR} & {region for _, region in named}:
        keyword, region = named[0]
        raise ImageNotARadiograph(
            f"The DICOM shows no chest: its header ({keyword}) names another region, {region}. "
            "Send a chest radiograph, or correct the header."
        )


def names_chest(dataset: Dataset) -> bool:
    """Decides whether the header says that the image shows a chest."""
    return CHEST in {region for _, region in _named(dataset)}


def _named(dataset: Dataset) -> list[tuple[str, str]]:
    """The regions that the header states, else those that it describes, with their elements."""
    return [
        (keyword, region)
        for keyword in STATEMENTS
        for region in stated_regions(_words(dataset, keyword))
    ] or [
        (keyword, region)
        for keyword in DESCRIPTIONS
        for region in described_regions(_words(dataset, keyword))
    ]


def _words(dataset: Dataset, keyword: str) -> str:
    """An element's text, or the meanings of its codes."""
    if keyword.endswith("Sequence"):
        return " / ".join(meanings(dataset, keyword))
    return text(dataset, keyword)
