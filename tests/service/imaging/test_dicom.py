import logging
import warnings

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from service.errors import EclipError, ImageNotARadiograph, ImageUndecodable, ImageUnsupported
from service.imaging.decode import ImageLimits, decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, ramp

LIMITS = ImageLimits()
CANARY = "Doe-Canary"


def shown(dataset: Dataset, **arguments) -> np.ndarray:
    """Display values 0…1."""
    return decode(dicom_bytes(dataset, **arguments), LIMITS).pixels / 65535


def close(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_without_a_window_the_stored_range_is_shown():
    close(shown(dicom_dataset()), ramp(np.uint16, 1000) / 1000)


def test_monochrome1_is_turned_over():
    dataset = dicom_dataset(PhotometricInterpretation="MONOCHROME1")
    close(shown(dataset), 1 - ramp(np.uint16, 1000) / 1000)
    assert decode(dicom_bytes(dataset), LIMITS).inverted


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", lambda x: np.clip((x - 499.5) / 199 + 0.5, 0, 1)),
        ("LINEAR_EXACT", lambda x: np.clip((x - 500) / 200 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 500) / 200))),
    ],
)
def test_windows_follow_the_standards_formulas(function, expected):
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    dataset = dicom_dataset(WindowCenter=500, WindowWidth=200, VOILUTFunction=function)
    close(shown(dataset), expected(ramp(np.uint16, 1000).astype(float)))


def test_the_first_of_several_windows_is_used():
    several = dicom_dataset(WindowCenter=[500, 10], WindowWidth=[200, 5])
    close(shown(several), shown(dicom_dataset(WindowCenter=500, WindowWidth=200)))


@pytest.mark.parametrize("width", [0, 1, -5])
def test_a_senseless_window_falls_back_to_the_values(width):
    radiograph = decode(dicom_bytes(dicom_dataset(WindowCenter=5, WindowWidth=width)), LIMITS)
    assert radiograph.window.source == "value-range"


def test_a_voi_lut_is_applied():
    lut = Dataset()
    lut.LUTDescriptor = [1001, 0, 16]
    table = (65535 - np.arange(1001) * 65535 // 1000).astype(np.uint16)
    lut.LUTData = table.tobytes()
    dataset = dicom_dataset(VOILUTSequence=Sequence([lut]))
    radiograph = decode(dicom_bytes(dataset), LIMITS)
    close(radiograph.pixels / 65535, table[ramp(np.uint16, 1000)] / 65535)
    assert radiograph.window.source == "voi-lut"


def test_rescale_comes_before_the_window():
    dataset = dicom_dataset(
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=900,
        WindowWidth=400,
        VOILUTFunction="LINEAR_EXACT",
    )
    close(shown(dataset), np.clip((ramp(np.uint16, 1000) * 2.0 - 100 - 900) / 400 + 0.5, 0, 1))


def test_signed_pixels_keep_their_order():
    signed = ramp(np.int16, 1000) - np.int16(500)
    close(shown(dicom_dataset(signed)), ramp(np.uint16, 1000) / 1000)


def test_padding_is_black_and_does_not_set_the_range():
    pixels = ramp(np.uint16, 1000)
    pixels[:4] = 60_000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        dataset = dicom_dataset(
            pixels, PixelPaddingValue=60_000, PhotometricInterpretation=photometric
        )
        image = shown(dataset)
        assert image[:4].max() == 0
        assert image[4:].max() == pytest.approx(1)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_files_without_preamble_are_read(syntax):
    headless = dicom_bytes(dicom_dataset(), syntax, headless=True)
    assert headless[128:132] != b"DICM"
    close(decode(headless, LIMITS).pixels / 65535, ramp(np.uint16, 1000) / 1000)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_are_read(syntax):
    dataset = dicom_dataset()
    dicom_bytes(dataset)
    dataset.compress(syntax, generate_instance_uid=False)
    close(shown(dataset, syntax=syntax), ramp(np.uint16, 1000) / 1000)


def test_an_unknown_transfer_syntax_is_named():
    data = dicom_bytes(dicom_dataset()).replace(
        b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.9\x00"
    )
    with pytest.raises(ImageUnsupported, match="transfer syntax"):
        decode(data, LIMITS)


@pytest.mark.parametrize(
    ("elements", "error"),
    [
        ({"Modality": "CT"}, ImageNotARadiograph),
        ({"NumberOfFrames": 2}, ImageUnsupported),
        ({"Rows": 4000}, ImageUndecodable),
        ({"BitsAllocated": 13}, ImageUndecodable),
    ],
)
def test_what_cannot_be_shown_gets_its_own_error(elements, error):
    with pytest.raises(error):
        decode(dicom_bytes(dicom_dataset(**elements)), LIMITS)


def test_an_object_without_pixels_is_unsupported():
    dataset = dicom_dataset()
    del dataset.PixelData
    with pytest.raises(ImageUnsupported, match="no pixel data"):
        decode(dicom_bytes(dataset), LIMITS)


def test_view_and_spacing_come_from_the_header():
    dataset = dicom_dataset(ViewPosition="PA", ImagerPixelSpacing=[0.15, 0.2])
    radiograph = decode(dicom_bytes(dataset), LIMITS)
    assert radiograph.view == "PA"
    assert radiograph.spacing_mm == (0.15, 0.2)
    assert radiograph.provenance["Modality"] == "CR"


IDENTIFYING = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientAddress", "AccessionNumber",
    "InstitutionName", "ReferringPhysicianName", "StudyDescription", "SeriesDescription",
    "OperatorsName", "ImageComments", "StudyID", "DeviceSerialNumber", "ViewPosition",
    "Manufacturer", "ProtocolName", "BodyPartExamined",
]  # fmt: skip


@pytest.mark.parametrize("elements", [{}, {"Modality": "CT"}, {"Rows": 4000}, {"BitsStored": 99}])
def test_no_patient_identifier_leaves_the_decoder(elements, caplog):
    dataset = dicom_dataset(**elements)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for keyword in IDENTIFYING:
            setattr(dataset, keyword, CANARY)
        data = dicom_bytes(dataset)
    assert CANARY.encode() in data
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        try:
            seen = repr(decode(data, LIMITS))
        except EclipError as error:
            seen = f"{error!r} {error.__cause__!r}"
    said = " ".join([seen, caplog.text, *(str(w.message) for w in warned)])
    assert CANARY.lower() not in said.lower()


def test_real_radiographs_are_shown_with_bright_bone(shared_data):
    for path in sorted((shared_data / "dicom").glob("*.dcm")):
        radiograph = decode(path.read_bytes(), LIMITS)
        rows, columns = radiograph.pixels.shape
        mediastinum = radiograph.pixels[
            rows // 3 : rows * 2 // 3, columns * 9 // 20 : columns * 11 // 20
        ]
        assert np.median(mediastinum) > np.median(radiograph.pixels), path.name
