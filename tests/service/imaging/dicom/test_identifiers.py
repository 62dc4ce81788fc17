import logging
import warnings

import pytest

from service.imaging.dicom.header import looks_like_dicom
from service.imaging.dicom.identifiers import Belonging
from service.imaging.dicom.identifiers import belonging as read_belonging
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset


def belonging(path):
    return read_belonging(lambda limit: path.read_bytes()[:limit])


def is_dicom(path):
    return looks_like_dicom(path.read_bytes())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1.2.3"


@pytest.mark.parametrize("headless", [False, True])
def test_the_ids_of_a_file_are_those_in_its_header(path, headless):
    dataset = dicom_dataset(StudyInstanceUID="1.2.3", PatientID="Doe 7 ")
    path.write_bytes(dicom_bytes(dataset, headless=headless))
    assert is_dicom(path)
    assert belonging(path) == Belonging("1.2.3", "Doe 7")


def test_ids_that_are_absent_or_blank_are_none(path):
    path.write_bytes(dicom_bytes(dicom_dataset(PatientID="  ")))
    assert belonging(path) == Belonging(None, None)


def test_a_damaged_file_has_no_ids(path):
    path.write_bytes(dicom_bytes(dicom_dataset(StudyInstanceUID="1.2.3"))[:140])
    assert is_dicom(path)
    assert belonging(path) == Belonging(None, None)


def test_an_id_that_breaks_the_standard_is_read_and_said_nowhere(path, caplog):
    data = dicom_bytes(dicom_dataset(StudyInstanceUID="1.2.840.99999"))
    path.write_bytes(data.replace(b"1.2.840.99999", b"Doe-Canary-77"))
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        assert belonging(path).study_id == "Doe-Canary-77"
    assert (warned, caplog.text) == ([], "")
