"""Reads whose study asked, from the headers of its images: what a FHIR resource repeats of it.

An Origin has plain identifiers. It lives in memory, and in the resources that go back to where the
images came from; nothing of it is logged or stored. It has no name, no birth date and no sex: a
FHIR server knows the patient by the id.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeVar

from pydicom.dataset import Dataset

from service.errors import StudyInvalid
from service.studies.samples import SEVERAL_PATIENTS

Found = TypeVar("Found")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LONGEST_UID = 64
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{6}(?:\.\d{1,6})?")
_OFFSET = re.compile(r"[+-](?:0\d|1[0-3])[0-5]\d|[+-]1400")


@dataclass(frozen=True, slots=True)
class Issued:
    """An id and who gave it out: in words, or as a URI; None where the header does not say."""

    value: str
    issuer: str | None = None
    issuer_uri: str | None = None


@dataclass(frozen=True, slots=True)
class ImageObject:
    """One image: its SOP Instance UID and its SOP class."""

    uid: str
    sop_class: str


@dataclass(frozen=True, slots=True)
class ImageSeries:
    """The images of one series."""

    uid: str
    modality: str
    images: tuple[ImageObject, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """The study that a report is about, by its plain identifiers.

    started: a date, or a time with its time zone where the header has all of these.
    """

    study_uid: str
    patient: Issued | None
    accession: Issued | None
    started: date | datetime | None
    series: tuple[ImageSeries, ...]

    @classmethod
    def of(cls, headers: Sequence[Dataset]) -> "Origin":
        """Returns the study of these images, each with its header.

        Raises StudyInvalid for no image, images of several studies or patients, and a missing or
        malformed UID.
        """
        studies = {_uid(header, "StudyInstanceUID") for header in headers}
        patients = {_text(header, "PatientID") for header in headers} - {None}
        if len(studies) != 1:
            raise StudyInvalid("The DICOM files are not of one study. Send the images of one.")
        if len(patients) > 1:
            raise StudyInvalid(SEVERAL_PATIENTS)
        return cls(
            study_uid=studies.pop(),
            patient=_first(map(_patient, headers)),
            accession=_first(map(_accession, headers)),
            started=_first(map(_started, headers)),
            series=_series(headers),
        )


def _first(found: Iterable[Found | None]) -> Found | None:
    return next((each for each in found if each is not None), None)


def _series(headers: Sequence[Dataset]) -> tuple[ImageSeries, ...]:
    """Returns the series in the order of their first images, each image once."""
    modalities: dict[str, str] = {}
    images: dict[str, dict[str, ImageObject]] = {}
    for header in headers:
        series, uid = _uid(header, "SeriesInstanceUID"), _uid(header, "SOPInstanceUID")
        modality = _text(header, "Modality") or ""
        modalities.setdefault(series, modality if _MODALITY.fullmatch(modality) else "OT")
        images.setdefault(series, {})[uid] = ImageObject(uid, _uid(header, "SOPClassUID"))
    return tuple(
        ImageSeries(uid, modalities[uid], tuple(found.values())) for uid, found in images.items()
    )


def _patient(header: Dataset) -> Issued | None:
    value = _text(header, "PatientID")
    if value is None:
        return None
    uri = _issuer_uri(header, "IssuerOfPatientIDQualifiersSequence")
    return Issued(value, _text(header, "IssuerOfPatientID"), uri)


def _accession(header: Dataset) -> Issued | None:
    value = _text(header, "AccessionNumber")
    if value is None:
        return None
    sequence = "IssuerOfAccessionNumberSequence"
    issuer = _first(_text(item, "LocalNamespaceEntityID") for item in header.get(sequence) or ())
    return Issued(value, issuer, _issuer_uri(header, sequence))


def _issuer_uri(header: Dataset, sequence: str) -> str | None:
    """Returns the issuer's universal id as a URI (PS3.3 10.14); None for other kinds of ids."""
    for item in header.get(sequence) or ():
        value, kind = _text(item, "UniversalEntityID"), _text(item, "UniversalEntityIDType")
        if value and kind == "ISO" and _is_uid(value):
            return f"urn:oid:{value}"
        if value and kind == "URI" and re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", value):
            return value
    return None


def _started(header: Dataset) -> date | datetime | None:
    keywords = ("StudyDate", "StudyTime", "TimezoneOffsetFromUTC")
    day, time, offset = (_text(header, keyword) or "" for keyword in keywords)
    if not _DATE.fullmatch(day):
        return None
    with suppress(ValueError):
        if _TIME.fullmatch(time) and _OFFSET.fullmatch(offset):
            return datetime.strptime(f"{day}{time[:6]}{offset}", "%Y%m%d%H%M%S%z")
    with suppress(ValueError):
        return date(int(day[:4]), int(day[4:6]), int(day[6:]))
    return None


def _text(header: Dataset, keyword: str) -> str | None:
    return str(header.get(keyword) or "").strip() or None


def _uid(header: Dataset, keyword: str) -> str:
    value = _text(header, keyword) or ""
    if not _is_uid(value):
        raise StudyInvalid(f"The {keyword} of a DICOM file is missing or is no UID. Correct it.")
    return value


def _is_uid(value: str) -> bool:
    return len(value) <= _LONGEST_UID and _UID.fullmatch(value) is not None
