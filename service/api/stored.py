"""Holds the answers about stored studies: one study, a batch, counts."""

from typing import Annotated, Literal

from pydantic import Field

from service.api.answers import Answer, BundleName, FailedItem
from service.cases.own_ids import OwnIds
from service.cases.schema import Metadata, Study


class PassageOut(Answer):
    """One sentence of a stored report."""

    id: str
    section: str
    text: str


class StoredImage(Answer):
    """One image of a stored study."""

    view: str | None
    url: str


class StudyOut(Answer):
    """A stored study. Its ids are references: keyed hashes of the caller's ids."""

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
        """Returns the study with the addresses of its images."""
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


FromDicom = Annotated[Literal["dicom"] | None, Field(exclude_if=lambda value: value is None)]


class StoredStudy(StudyOut):
    """A study as it was stored. It says which of its ids the caller did not name."""

    patient_id_from: FromDicom = None
    """`dicom` if the patient is the PatientID of the files; absent if the caller named it."""
    study_id_from: FromDicom = None
    """`dicom` if the study is the StudyInstanceUID of the files; absent if the caller named it."""

    @classmethod
    def named(cls, study: Study, ids: OwnIds) -> "StoredStudy":
        """Returns the study, and which of its ids are the files' own."""
        return cls(
            **StudyOut.of(study).model_dump(),
            patient_id_from="dicom" if ids.patient_id_from == "dicom" else None,
            study_id_from="dicom" if ids.study_id_from == "dicom" else None,
        )


class StudyItem(Answer):
    """One stored study of a batch."""

    index: int
    study: StoredStudy


class StudyBatch(Answer):
    """Answer of POST /studies. Items have the order of the request."""

    bundle: BundleName
    items: list[StudyItem | FailedItem]


class StudyCounts(Answer):
    """The number of studies in the library, and for each value the number of studies with it."""

    studies: int
    source: dict[str, int]
    view: dict[str, int]
    findings: dict[str, int]
