"""Whose study asked, by the headers of its images."""

from datetime import date, datetime, timedelta, timezone

import pytest
from pydicom.dataset import Dataset

from service.errors import StudyInvalid
from service.pacs.headers import header_of
from service.pacs.origin import ImageObject, Issued, Origin
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),
    pytest.mark.filterwarnings("ignore:The value length"),
]
CR = "1.2.840.10008.5.1.4.1.1.1"


def header(**elements):
    given = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "PatientID": "P-1"}
    return header_of(dicom_bytes(dicom_dataset(**given | elements)))


def qualifier(**elements):
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return [item]


def test_a_study_has_its_series_and_each_image_once():
    headers = [
        header(SOPInstanceUID="1.5"),
        header(SOPInstanceUID="1.6", SeriesInstanceUID="1.2.3.9", Modality="DX"),
        header(SOPInstanceUID="1.7", Modality="c r"),
        header(SOPInstanceUID="1.5"),
    ]
    first, second = Origin.of(headers).series
    assert (first.uid, first.modality, first.images) == (
        "1.2.3.4",
        "CR",
        (ImageObject("1.5", CR), ImageObject("1.7", CR)),
    )
    assert (second.uid, second.modality) == ("1.2.3.9", "DX")
    assert Origin.of([headers[2]]).series[0].modality == "OT"


def test_ids_come_with_who_gave_them_out():
    origin = Origin.of(
        [
            header(
                IssuerOfPatientID="Ward 7",
                IssuerOfPatientIDQualifiersSequence=qualifier(
                    UniversalEntityID="1.2.9", UniversalEntityIDType="ISO"
                ),
                AccessionNumber="A-1",
                IssuerOfAccessionNumberSequence=qualifier(LocalNamespaceEntityID="RIS"),
            )
        ]
    )
    assert origin.patient == Issued("P-1", "Ward 7", "urn:oid:1.2.9")
    assert origin.accession == Issued("A-1", "RIS")
    bare = Origin.of([header(PatientID="")])
    assert (bare.patient, bare.accession) == (None, None)


@pytest.mark.parametrize(
    ("kind", "value", "uri"),
    [
        ("URI", "https://ward.example/ids", "https://ward.example/ids"),
        ("DNS", "ward.example", None),
        ("ISO", "ward", None),
        ("URI", "no uri", None),
    ],
)
def test_only_an_issuer_that_is_a_uri_is_taken_for_one(kind, value, uri):
    named = qualifier(UniversalEntityID=value, UniversalEntityIDType=kind)
    origin = Origin.of([header(IssuerOfPatientIDQualifiersSequence=named)])
    assert origin.patient.issuer_uri == uri


@pytest.mark.parametrize(
    ("day", "time", "offset", "started"),
    [
        ("20260304", "101530.5", "+0130", datetime(2026, 3, 4, 10, 15, 30)),
        ("20260304", "101530", "", date(2026, 3, 4)),
        ("20260304", "101560", "+0130", date(2026, 3, 4)),
        ("20260304", "101530", "+1500", date(2026, 3, 4)),
        ("20260304", "", "", date(2026, 3, 4)),
        ("20260230", "", "", None),
        ("", "101530", "+0130", None),
    ],
)
def test_a_time_is_told_only_with_its_zone(day, time, offset, started):
    clock = {"StudyDate": day, "StudyTime": time, "TimezoneOffsetFromUTC": offset}
    if isinstance(started, datetime):
        started = started.replace(tzinfo=timezone(timedelta(hours=1, minutes=30)))
    assert Origin.of([header(**clock)]).started == started


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [{}, {"StudyInstanceUID": "1.2.4"}],
        [{}, {"PatientID": "P-2"}],
        [{"SOPInstanceUID": "Canary"}],
        [{"StudyInstanceUID": f"1.{'2' * 64}"}],
    ],
)
def test_files_that_are_not_one_study_of_one_patient_are_refused(headers):
    with pytest.raises(StudyInvalid) as refused:
        Origin.of([header(**elements) for elements in headers])
    assert "Canary" not in refused.value.detail
