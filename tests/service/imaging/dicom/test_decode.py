import logging
import subprocess
import sys
import warnings
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.config import disable_value_validation

from service.errors import (
    EclipError,
)
from service.imaging.decode import ImageLimits, decode
from service.imaging.radiograph import Radiograph
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, ramp
from tests.service.imaging.dicom.conftest import LIMITS, lut

CANARY = "Doe-Canary"


def test_view_and_spacing_come_from_the_header():
    dataset = dicom_dataset(ViewPosition="PA", ImagerPixelSpacing=[0.15, 0.15])
    radiograph = decode(dicom_bytes(dataset), LIMITS)
    assert radiograph.view == "PA"
    assert radiograph.spacing_mm == (0.15, 0.15)
    assert radiograph.provenance["Modality"] == "CR"


@pytest.mark.parametrize("spacing", [[0, 0], [-1, 1], 0.2, [0.1, 0.2, 0.3]])
def test_a_spacing_that_cannot_be_is_left_out(spacing):
    radiograph = decode(dicom_bytes(dicom_dataset(ImagerPixelSpacing=spacing)), LIMITS)
    assert radiograph.spacing_mm is None


IDENTIFYING = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientAddress", "AccessionNumber",
    "InstitutionName", "ReferringPhysicianName", "StudyDescription", "SeriesDescription",
    "OperatorsName", "ImageComments", "StudyID", "DeviceSerialNumber", "ViewPosition",
    "Manufacturer", "ProtocolName", "BodyPartExamined",
]  # fmt: skip


@pytest.mark.parametrize(
    "elements", [{}, {"SOPClassUID": "1.2.3", "Modality": "CT"}, {"Rows": 4000}, {"BitsStored": 99}]
)
def test_no_patient_identifier_leaves_the_decoder(elements, caplog):
    dataset = dicom_dataset(**elements)
    with disable_value_validation():
        for keyword in IDENTIFYING:
            setattr(dataset, keyword, CANARY)
        data = dicom_bytes(dataset)
    assert CANARY.encode() in data
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        try:
            seen = repr(decode(data, LIMITS))
        except EclipError as error:
            seen = f"{error!r} {error.__cause__!r} {error.__context__!r}"
    said = " ".join([seen, caplog.text, *(str(w.message) for w in warned)])
    assert CANARY.lower() not in said.lower()


def test_a_name_in_the_character_set_reaches_no_stream():
    """pydicom warns of an unknown character set by quoting it; a fresh process has our filter."""
    data = dicom_bytes(dicom_dataset(SpecificCharacterSet="ISO_IR 100")).replace(
        b"ISO_IR 100", CANARY.encode()
    )
    script = (
        "import sys; from service.imaging.decode import *; "
        "decode(sys.stdin.buffer.read(), ImageLimits())"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", script], input=data, capture_output=True, check=True
    )
    assert CANARY.encode() in data
    assert (ended.stdout, ended.stderr) == (b"", b"")


@pytest.mark.filterwarnings("ignore")
@given(st.data())
@settings(max_examples=200)
def test_any_header_damage_gives_a_radiograph_or_a_typed_error(data):
    whole = bytearray(RICH)
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(132, len(whole) - ramp().size * 2))] = data.draw(
            st.integers(0, 255)
        )
    with suppress(EclipError):
        assert isinstance(decode(bytes(whole), ImageLimits(max_pixels=10**6)), Radiograph)


RICH = dicom_bytes(
    dicom_dataset(
        ramp(np.int16, 1000),
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=[500, 10],
        WindowWidth=[200, 5],
        VOILUTFunction="SIGMOID",
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=3,
        ImagerPixelSpacing=[0.1, 0.2],
        ViewPosition="PA",
        SpecificCharacterSet="ISO_IR 100",
        VOILUTSequence=lut(16, 0, 16, bytes(range(32))),
    )
)


def test_real_radiographs_are_shown_with_bright_bone(shared_data):
    for path in sorted((shared_data / "dicom").glob("*.dcm")):
        radiograph = decode(path.read_bytes(), LIMITS)
        rows, columns = radiograph.pixels.shape
        mediastinum = radiograph.pixels[
            rows // 3 : rows * 2 // 3, columns * 9 // 20 : columns * 11 // 20
        ]
        assert np.median(mediastinum) > np.median(radiograph.pixels), path.name
