"""Attributes of type 1 that are missing, malformed or contradict the length of the pixels."""

import numpy as np
import pytest
from pydicom.config import disable_value_validation

from service.errors import ImageUndecodable, ImageUnsupported
from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, chest, corrections

TWELVE = {"BitsStored": 12, "HighBit": 11}
PIXELS = chest(4095)
GRAY = chest(255, np.uint8)
COLOUR = np.repeat(GRAY[..., None], 3, axis=-1)
RGB = {
    "PhotometricInterpretation": "RGB",
    "SamplesPerPixel": 3,
    "Rows": 64,
    "Columns": 48,
    "PlanarConfiguration": 0,
}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SamplesPerPixel", 1),
        ("PixelRepresentation", 0),
        ("BitsAllocated", 16),
        ("BitsStored", 12),
        ("HighBit", 11),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_attribute_gets_the_only_value_that_fits(keyword, value, empty):
    dataset = dicom_dataset(PIXELS, **TWELVE)
    setattr(dataset, keyword, None)
    if not empty:
        delattr(dataset, keyword)
    got = corrections(dataset, PIXELS / 4095)
    assert got == f"{keyword} was taken as {value}: the header has none."


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "PhotometricInterpretation"])
def test_a_missing_attribute_without_an_only_value_is_named(keyword):
    dataset = dicom_dataset(PIXELS)
    delattr(dataset, keyword)
    with pytest.raises(ImageUndecodable, match=keyword):
        decode(dicom_bytes(dataset), LIMITS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("written", ["monochrome2", " MONOCHROME2 ", "MONOCHROME 2"])
def test_polarity_is_read_without_regard_to_case_and_blanks(written):
    assert (
        corrections(dicom_dataset(PIXELS, PhotometricInterpretation=written), PIXELS / 4095) == ""
    )


@pytest.mark.parametrize(("shape", "right"), [("IDENTITY", PIXELS), ("INVERSE", 4095 - PIXELS)])
@pytest.mark.parametrize("written", ["", "MONOCHROME"])
def test_the_presentation_shape_tells_a_polarity_that_is_missing(shape, right, written):
    header = {"PhotometricInterpretation": written, "PresentationLUTShape": shape}
    got = corrections(dicom_dataset(PIXELS, **header), right / 4095)
    assert "PhotometricInterpretation was taken as MONOCHROME" in got


@pytest.mark.parametrize(
    ("header", "error", "named"),
    [
        ({"PhotometricInterpretation": "MONOCHROME"}, ImageUndecodable, "PhotometricInterp"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ImageUnsupported, "PALETTE COLOR"),
        ({"SamplesPerPixel": 3}, ImageUndecodable, "SamplesPerPixel"),
        ({"PixelRepresentation": 7}, ImageUndecodable, "PixelRepresentation"),
        ({"BitsAllocated": 12}, ImageUndecodable, "BitsAllocated"),
        ({"BitsAllocated": 8, "BitsStored": 8}, ImageUndecodable, "longer"),
        ({"Rows": 32}, ImageUndecodable, "longer"),
        ({"Columns": 40}, ImageUndecodable, "longer"),
        ({"Columns": 50}, ImageUndecodable, "shorter"),
        ({"PixelData": b""}, ImageUndecodable, "shorter"),
        ({"Rows": [64, 64]}, ImageUndecodable, "Rows"),
        ({"PixelAspectRatio": [30, 1]}, ImageUndecodable, "PixelAspectRatio"),
        ({"NumberOfFrames": 2}, ImageUnsupported, "NumberOfFrames"),
    ],
)
def test_an_attribute_that_contradicts_the_pixels_is_named(header, error, named):
    with disable_value_validation():
        data = dicom_bytes(dicom_dataset(PIXELS, **header))
    with pytest.raises(error, match=named) as raised:
        decode(data, LIMITS)
    assert "damaged" not in str(raised.value)


@pytest.mark.parametrize("frames", [0, 1, "", None])
def test_any_number_of_frames_that_means_one_is_read(frames):
    assert corrections(dicom_dataset(PIXELS, NumberOfFrames=frames), PIXELS / 4095) == ""


def test_bytes_that_pad_the_pixels_are_passed_over():
    padded = dicom_dataset(PIXELS, PixelData=PIXELS.tobytes() + bytes(6))
    assert corrections(padded, PIXELS / 4095) == ""


@pytest.mark.parametrize(
    ("pixels", "header", "said"),
    [
        (COLOUR, {}, ""),
        (COLOUR, {"PlanarConfiguration": 1}, "PlanarConfiguration was taken as 0"),
        (COLOUR.transpose(2, 0, 1).copy(), {}, "PlanarConfiguration was taken as 1"),
        (COLOUR, {"PlanarConfiguration": None}, "PlanarConfiguration was taken as 0"),
        (COLOUR, {"SamplesPerPixel": None}, "SamplesPerPixel was taken as 3"),
        (COLOUR, {"WindowCenter": 2048, "WindowWidth": 4096, "RescaleSlope": 0}, ""),
        (COLOUR.astype(np.uint16) * 16, {}, ""),
        (
            np.stack([GRAY, np.full_like(GRAY, 128), np.full_like(GRAY, 128)], axis=-1),
            {"PhotometricInterpretation": "YBR_FULL"},
            "",
        ),
        (
            np.dstack([GRAY.reshape(64, 24, 2), np.full((64, 24, 2), 128, np.uint8)]),
            {"PhotometricInterpretation": "YBR_FULL_422"},
            "",
        ),
    ],
)
def test_gray_that_is_kept_as_colour_is_shown_as_gray(pixels, header, said):
    got = corrections(dicom_dataset(pixels, **RGB | header), GRAY / 255)
    assert said in got
    assert bool(said) == bool(got)
