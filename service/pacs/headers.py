"""Reads from a received DICOM file whose image it is: all that a result of it repeats.

These elements name a patient. They live in memory and in the result that goes back to where the
file came from, nowhere else.
"""

from contextlib import suppress
from itertools import chain

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from service.errors import EclipError, ImageUndecodable
from service.imaging.dicom.deflated import HEAD, inflated
from service.imaging.dicom.header import BoundedFile, too_large
from service.imaging.libraries import decoding

REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
"""Elements without which a file is not an object of a study."""
PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate", "PatientBirthTime", "PatientSex",
    "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup", "PatientComments",
    "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription",
    "PatientBreedCodeSequence", "ResponsiblePerson", "ResponsiblePersonRole",
    "ResponsibleOrganization", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "QualityControlSubject",
)  # fmt: skip
"""Elements of the patient (PS3.3 C.7.1.1)."""
STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence", "StudyID", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "StudyDescription", "PhysiciansOfRecord",
    "ReferencedStudySequence", "ProcedureCodeSequence", "PatientAge", "PatientSize",
    "PatientWeight", "AdmissionID", "IssuerOfAdmissionIDSequence",
)  # fmt: skip
"""Elements of the study, and of the patient at its time (PS3.3 C.7.2.1 and C.7.2.2)."""
_OTHERS = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "ImageType", "SeriesInstanceUID",
    "SOPInstanceUID", "SOPClassUID", "Modality", "PresentationIntentType", "SeriesNumber",
    "SeriesDescription", "SeriesDate", "SeriesTime", "InstanceNumber", "NumberOfFrames",
    "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ContentDate", "ContentTime",
    "Rows", "Columns", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality",
    "AnatomicRegionSequence", "ViewCodeSequence", "Manufacturer", "ManufacturerModelName",
    "DeviceSerialNumber", "SoftwareVersions", "StationName", "InstitutionName",
    "InstitutionCodeSequence", "InstitutionalDepartmentName", "RequestedProcedureID",
    "RequestedProcedureDescription", "RequestedProcedureCodeSequence", "RequestAttributesSequence",
    "ReferencedRequestSequence",
)  # fmt: skip
"""Elements of the series, the image, its equipment, and the request that it answers."""
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in (*PATIENT, *STUDY, *_OTHERS)]
_LAST = max(_TAGS)
_MAX_VALUE = 2**16
"""Bytes of a value that is read; values that are skipped have no bound."""
_MAX_DEPTH = 8
"""Sequences within each other. Those of the standard that are read here have at most four."""
_UNDEFINED = 0xFFFFFFFF
_ASCII = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
"""Value representations of letters that need no character set (PS3.5 6.2)."""


def header_of(file: bytes) -> Dataset:
    """Returns the elements of a DICOM file that its results need, without pixels.

    All values are decoded, and a value that cannot be is left out. The file may be deflated, or cut
    off behind these elements. At most 1 MiB of it is read (8 MiB, if it is deflated).

    Raises ImageUndecodable for what is no DICOM file of a study, or has a larger header.
    """
    try:
        with decoding:
            header = _decoded(_read(inflated(file, HEAD, cut=True)))
            if all(str(header.get(keyword) or "").strip() for keyword in REQUIRED):
                return header
    except EclipError:
        raise
    except Exception as error:  # a damaged header makes pydicom raise anything
        raise _undecodable() from error
    raise _undecodable()


def _read(data: bytes) -> Dataset:
    file = BoundedFile(data)

    def is_past(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _TAGS and _MAX_VALUE < length != _UNDEFINED:
            raise too_large()
        return file.stops_at(tag, vr, length) or bool(tag > _LAST)

    return read_partial(file, is_past, specific_tags=_TAGS, force=True)


def _decoded(dataset: Dataset) -> Dataset:
    """Returns a dataset of its decoded elements. It no longer refers to the file."""
    header = Dataset()
    for tag in list(dataset.keys()):  # iterating over the dataset itself decodes
        with suppress(Exception):  # of pydicom, for a damaged value
            element = dataset[tag]
            _decode(element, _MAX_DEPTH)
            header.add(element)
    return header


def _decode(element: DataElement, depth: int) -> None:
    """Decodes what pydicom leaves for later: names, and the items of sequences.

    Raises anything for what cannot be decoded, or written again.
    """
    if element.VR != "SQ":
        for value in values_of(element):
            value.encode("ascii" if element.VR in _ASCII else "utf-8")
        return
    if depth == 0:
        raise too_large()
    for nested in chain.from_iterable(element.value):
        _decode(nested, depth - 1)


def values_of(element: DataElement) -> list[str]:
    """Returns the values of an element that is no sequence, as texts."""
    value = element.value
    return [str(each) for each in (value if isinstance(value, MultiValue) else [value])]


def _undecodable() -> ImageUndecodable:
    return ImageUndecodable(
        "The file is no DICOM object of a study: its SOPClassUID, SOPInstanceUID, SeriesInstanceUID"
        " or StudyInstanceUID is missing or cannot be read. Export it again from its source."
    )
