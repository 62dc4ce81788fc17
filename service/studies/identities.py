"""Reads from a DICOM header what must not stay in a report: whom and where it names, and when.

These are the attributes of PS3.15 E (Basic Application Confidentiality Profile) that hold names,
ids, places, telephone numbers or dates, at the top level and in the sequences that repeat them.
"""

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from service.studies.dates import date_of
from service.studies.objects import ObjectReader, read_object
from service.studies.scrubbing import Identity

_PEOPLE = (
    "ConsultingPhysicianName", "ContentCreatorName", "EvaluatorName", "HumanPerformerName",
    "InterpretationAuthor", "InterpretationRecorder", "InterpretationTranscriber",
    "NameOfPhysiciansReadingStudy", "NamesOfIntendedRecipientsOfResults", "OperatorsName",
    "OrderEnteredBy", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "PatientName", "PerformingPhysicianName", "PersonName", "PhysicianApprovingInterpretation",
    "PhysiciansOfRecord", "ReferringPhysicianName", "RequestingPhysician", "ResponsiblePerson",
    "ReviewerName", "ScheduledPerformingPhysicianName", "SecondaryReviewerName",
    "VerifyingObserverName",
)  # fmt: skip
_IDS = (
    "AccessionNumber", "AdmissionID", "CassetteID", "DetectorID", "DeviceSerialNumber",
    "FillerOrderNumberImagingServiceRequest", "GantryID", "InsurancePlanIdentification",
    "MedicalRecordLocator", "OrderCallbackPhoneNumber", "OtherPatientIDs", "PatientID",
    "PatientTelephoneNumbers", "PersonTelephoneNumbers", "PerformedProcedureStepID",
    "PlacerOrderNumberImagingServiceRequest", "PlateID", "ReferringPhysicianTelephoneNumbers",
    "RequestedProcedureID", "ScheduledProcedureStepID", "ServiceEpisodeID", "StudyID",
)  # fmt: skip
_PLACES = (
    "CurrentPatientLocation", "InstitutionAddress", "InstitutionName",
    "InstitutionalDepartmentName", "IssuerOfPatientID", "OrderEntererLocation", "PatientAddress",
    "PatientInstitutionResidence", "PatientReligiousPreference", "PerformedStationName",
    "PersonAddress", "ReferringPhysicianAddress", "RequestingService", "ResponsibleOrganization",
    "ScheduledStationName", "StationName", "VerifyingOrganization",
)  # fmt: skip
_DATES = (
    "AcquisitionDate", "AcquisitionDateTime", "AdmittingDate", "ContentDate", "DateTime",
    "InstanceCreationDate", "IssueDateOfImagingServiceRequest", "LastMenstrualDate",
    "ObservationDateTime", "PatientBirthDate", "PerformedProcedureStepEndDate",
    "PerformedProcedureStepStartDate", "ScheduledProcedureStepStartDate", "SeriesDate",
    "StudyDate", "VerificationDateTime",
)  # fmt: skip
_SEQUENCES = (
    "AuthorObserverSequence", "ConsultingPhysicianIdentificationSequence",
    "CustodialOrganizationSequence", "InstitutionCodeSequence", "OperatorIdentificationSequence",
    "OtherPatientIDsSequence", "ParticipantSequence",
    "PerformingPhysicianIdentificationSequence", "PersonIdentificationCodeSequence",
    "PhysiciansOfRecordIdentificationSequence", "PhysiciansReadingStudyIdentificationSequence",
    "ReferencedRequestSequence", "ReferringPhysicianIdentificationSequence",
    "RequestAttributesSequence", "RequestingPhysicianIdentificationSequence",
    "VerifyingObserverIdentificationCodeSequence", "VerifyingObserverSequence",
)  # fmt: skip
_OF_PERSONS = frozenset(
    {"PersonIdentificationCodeSequence", "VerifyingObserverIdentificationCodeSequence"}
)
"""Sequences whose codes stand for people: the value is an id, the meaning often the name."""
HEADER = (*_PEOPLE, *_IDS, *_PLACES, *_DATES, *_SEQUENCES)
"""Attributes that `identity_in` reads."""
_MAX_DEPTH = 8


def identity_of(file: bytes) -> Identity:
    """Returns what an image's header names. Raises StudyInvalid for a damaged one."""
    return read_object(file, HEADER, lambda reader: identity_in(reader, reader.dataset))


def identity_in(reader: ObjectReader, dataset: Dataset, depth: int = 0) -> Identity:
    """Returns what a dataset and the items of its sequences name."""
    keywords = {keyword_for_tag(tag) for tag in dataset.keys()}  # noqa: SIM118

    def texts(wanted: tuple[str, ...]) -> frozenset[str]:
        named = keywords.intersection(wanted)
        return frozenset(text for keyword in named for text in reader.texts(dataset, keyword))

    days = {date_of(text) for text in texts(_DATES)} - {None}
    found = Identity(
        texts(_PEOPLE), texts(_IDS), texts(_PLACES), frozenset(day for day in days if day)
    )
    for keyword in keywords.intersection(_SEQUENCES) if depth < _MAX_DEPTH else ():
        for item in reader.items(dataset, keyword):
            found |= identity_in(reader, item, depth + 1)
            if keyword in _OF_PERSONS:
                people = frozenset(reader.texts(item, "CodeMeaning"))
                found |= Identity(people, frozenset(reader.texts(item, "CodeValue")))
    return found
