"""A frontal view that its header calls mirrored or turned is doubted."""

import pytest

from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS


def warned(**elements):
    warnings = decode(dicom_bytes(dicom_dataset(**elements)), LIMITS).warnings
    return any("mirrored or turned" in warning for warning in warnings)


@pytest.mark.parametrize("directions", [["R", "F"], ["L", "H"], ["RH", "FL"], ["F", "L"]])
def test_a_view_of_other_directions_than_left_and_feet_is_doubted(directions):
    assert warned(PatientOrientation=directions, ViewPosition="PA")


@pytest.mark.parametrize("directions", [["L", "F"], ["LH", "FL"], ["A", "F"], ["R"], ""])
def test_left_and_feet_laterals_and_what_is_not_said_are_not_doubted(directions):
    assert not warned(PatientOrientation=directions)


def test_a_patient_who_lies_on_the_side_is_not_doubted():
    assert not warned(PatientOrientation=["F", "R"], ViewPosition="LLD")
