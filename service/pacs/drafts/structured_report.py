"""Writes a draft report as a DICOM structured report (SR), which a PACS keeps beside the images.

Its class is Enhanced SR, not Comprehensive SR: the tree has numbers and images, all by value, and
no references between items nor coordinates. So it meets the stricter class, which more receivers
take: IHE's profile of reports with numbers (SINR) names it, and viewers that show an SR show both.
`dciodvfy` checks both and reports no error.

Patient, study and request are those of the images, word for word, each element of the first image
that has it; what they lack is empty. The
character set is that of the images too, if it has one byte a character and all that the draft says.
Otherwise it is UTF-8 (ISO_IR 192).
"""

import io
from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime, timedelta, timezone

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import EnhancedSR
from pydicom.charset import python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from service.errors import StudyInvalid
from service.imaging.libraries import decoding
from service.pacs.drafts.content import MODEL, content_of
from service.pacs.drafts.dicom_text import short_text
from service.pacs.drafts.result_uids import result_uid
from service.pacs.headers import PATIENT, STUDY, values_of
from service.reporting.report import Report
from service.studies.own_drafts import MANUFACTURER, OWN_SCHEME

DESCRIPTION = "Draft report by software, not verified"
"""SeriesDescription of a draft."""
_SERIES_NUMBER = 9100
"""SeriesNumber of a draft: behind those that modalities give."""
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Elements that are there and empty if the images have none."""
_REQUEST = (
    "ReferencedStudySequence", "AccessionNumber", "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest", "RequestedProcedureID",
    "RequestedProcedureDescription", "RequestedProcedureCodeSequence",
)  # fmt: skip
"""Elements of type 2 of a request that the draft answers (PS3.3 C.17.2)."""
_OFFSET = "TimezoneOffsetFromUTC"
_UTF_8 = "ISO_IR 192"
_ENCODINGS = {"": "ascii"} | {
    f"ISO_IR {number}": python_encoding[f"ISO_IR {number}"]
    for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 166)
}
"""SpecificCharacterSet → Python's name of it, of those with one byte a character (PS3.3 C.12.1)."""
_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Value representations that use the character set."""


def structured_report(report: Report, images: Sequence[Dataset], *, written: datetime) -> bytes:
    """Returns the draft as a DICOM file (PS3.10) in Explicit VR Little Endian.

    images: headers (`header_of`) of the images that the report is about. written: with its time
    zone. The same arguments give the same bytes.

    Raises StudyInvalid if the images are not of one study and one patient.
    """
    check_one_study(images)
    whole = _whole(images)
    written = _in_zone_of(whole, written)
    with decoding:
        draft = _Draft(
            evidence=[_stub(image, images[0]) for image in images],
            content=content_of(report, images, written),
            series_instance_uid=result_uid(images, report, "series"),
            series_number=_SERIES_NUMBER,
            series_description=DESCRIPTION,
            sop_instance_uid=result_uid(images, report),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL,
            software_versions=(
                short_text(report.provenance.software),
                short_text(report.provenance.bundle_id),
            ),
            specific_character_set=_UTF_8,
            coding_schemes=[
                CodingSchemeIdentificationItem(
                    OWN_SCHEME, name=MANUFACTURER, responsible_organization=MANUFACTURER
                )
            ],
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        _copy(draft, whole)
        _date(draft, written)
        _set_character_set(draft, str(whole.get("SpecificCharacterSet") or ""))
        file = io.BytesIO()
        draft.save_as(file, enforce_file_format=True)
        return file.getvalue()


class _Draft(EnhancedSR):
    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Does nothing: `_copy` also takes images of classes that highdicom does not know."""


def check_one_study(images: Sequence[Dataset]) -> None:
    """Raises StudyInvalid for headers of images of several studies or patients, or for none."""
    if not images:
        raise StudyInvalid("A DICOM report needs the DICOM file of an image. Send one.")
    for keyword, what in (("StudyInstanceUID", "study"), ("PatientID", "patient")):
        if len({str(image.get(keyword) or "").strip() for image in images} - {""}) > 1:
            raise StudyInvalid(
                f"The images are not of one {what} ({keyword}). Send those of one {what}."
            )


def _stub(image: Dataset, first: Dataset) -> Dataset:
    """Returns what highdicom reads of an image: its UIDs.

    It must not see the patient. It warns of names in its own view unusual, and quotes them.
    """
    stub = Dataset()
    for keyword in _TYPE_2:
        setattr(stub, keyword, "")
    stub.StudyInstanceUID = first.StudyInstanceUID
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        setattr(stub, keyword, image[keyword].value)
    return stub


def _whole(images: Sequence[Dataset]) -> Dataset:
    """Returns the first image's header, with what the others say and it does not."""
    whole = Dataset()
    for element in (element for image in images for element in image):
        if element.keyword not in whole or _is_empty(whole[element.keyword]):
            whole.add(element)
    return whole


def _copy(draft: Dataset, image: Dataset) -> None:
    """Copies patient, study and request."""
    for keyword in _TYPE_2:
        setattr(draft, keyword, None)
    for keyword in (*PATIENT, *STUDY, _OFFSET):
        if keyword in image and not (image[keyword].VR == "SQ" and _is_empty(image[keyword])):
            draft.add(deepcopy(image[keyword]))
    if requests := _requests(image):
        draft.ReferencedRequestSequence = requests


def _set_character_set(draft: Dataset, named: str) -> None:
    """Names the character set of the image if the whole draft can be written in it, else UTF-8."""
    try:
        for element in draft.iterall():
            if element.VR in _TEXTS:
                for value in values_of(element):
                    value.encode(_ENCODINGS[named])
    except (KeyError, UnicodeEncodeError):
        named = _UTF_8
    draft.SpecificCharacterSet = named
    if not named:  # the standard's own, which is not named
        del draft.SpecificCharacterSet


def _is_empty(element: DataElement) -> bool:
    """Decides whether it has no value. An optional sequence may not be there without items."""
    return not element.value


def _requests(image: Dataset) -> list[Dataset]:
    """Returns the requests that the image answers, as far as it names any."""
    named = image.get("ReferencedRequestSequence") or image.get("RequestAttributesSequence") or []
    if not named and any(image.get(keyword) for keyword in _REQUEST[-3:]):
        named = [image]
    requests = []
    for item in named:
        request = Dataset()
        request.StudyInstanceUID = item.get("StudyInstanceUID") or image.StudyInstanceUID
        for keyword in (*_REQUEST, "IssuerOfAccessionNumberSequence"):
            source = item if keyword in item else image
            if keyword in source:
                request.add(deepcopy(source[keyword]))
            elif keyword in _REQUEST:
                setattr(request, keyword, [] if keyword.endswith("Sequence") else None)
        requests.append(request)
    return requests


def _in_zone_of(image: Dataset, written: datetime) -> datetime:
    """Returns the time in the zone of the image's times, if the image names it.

    Otherwise the draft names none either: its zone would also count for the study's time. The note
    of the time of writing has one in any case.
    """
    offset = str(image.get(_OFFSET) or "").strip()
    try:
        hours, minutes = int(offset[:3]), int(offset[0] + offset[3:5])
        return written.astimezone(timezone(timedelta(hours=hours, minutes=minutes)))
    except (ValueError, IndexError):
        return written.astimezone() if written.tzinfo is None else written


def _date(draft: Dataset, written: datetime) -> None:
    """Sets all times of the draft to one, and takes highdicom's own note of itself away."""
    for part in ("InstanceCreation", "Series", "Content"):
        setattr(draft, f"{part}Date", DA(written.date()))
        setattr(draft, f"{part}Time", TM(written.time().replace(microsecond=0)))
    draft.pop("ContributingEquipmentSequence", None)
