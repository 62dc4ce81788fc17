"""Stored bits that are not where BitsStored, HighBit and PixelRepresentation say."""

import numpy as np
import pytest

from tests.service.imaging.conftest import dicom_dataset
from tests.service.imaging.dicom.conftest import chest, corrections

TWELVE = {"BitsStored": 12, "HighBit": 11}
PIXELS = chest(4095)
SIGNED = PIXELS.astype(np.int16) - np.int16(2048)
ROW = np.arange(64)[:, None]


@pytest.mark.parametrize(
    ("pixels", "header", "said"),
    [
        (PIXELS << 4, TWELVE | {"HighBit": 15}, ""),
        (PIXELS << 4, TWELVE, "HighBit was taken as 15"),
        (PIXELS, TWELVE | {"HighBit": 15}, "HighBit was taken as 11"),
        (PIXELS, TWELVE | {"HighBit": 3}, "HighBit was taken as 11"),
        (PIXELS, TWELVE | {"HighBit": 60_000}, "HighBit was taken as 11"),
        (PIXELS << 2, TWELVE | {"HighBit": 13}, ""),
        ((PIXELS << 4) | (ROW % 9 < 2).astype(np.uint16), TWELVE | {"HighBit": 15}, ""),
        (chest(16383), TWELVE, "BitsStored was taken as 14"),
        (chest(8191), TWELVE, "BitsStored was taken as 13"),
        (chest(4300), TWELVE, "BitsStored was taken as 13"),
        (chest(65535), TWELVE, "BitsStored was taken as 16"),
        (chest(1023), {"BitsStored": 8, "HighBit": 7}, "BitsStored was taken as 10"),
        (chest(65535), {"BitsStored": 8, "HighBit": 7}, "BitsStored was taken as 16"),
        (chest(255, np.uint8), {"BitsStored": 12}, "BitsStored was taken as 8"),
        (PIXELS, {"BitsAllocated": 8} | TWELVE, "BitsAllocated was taken as 16"),
        (PIXELS, {"BitsStored": 0}, "BitsStored was taken as 16"),
    ],
)
def test_a_value_is_read_where_the_pixels_show_it(pixels, header, said):
    got = corrections(dicom_dataset(pixels, **header), PIXELS / 4095)
    assert said in got
    assert bool(said) == bool(got)


@pytest.mark.parametrize("bit", [12, 13, 15])
def test_an_overlay_in_unused_bits_is_left_out(bit):
    overlay = np.where(ROW % 20 < 3, 1 << bit, 0).astype(np.uint16)
    assert corrections(dicom_dataset(PIXELS | overlay, **TWELVE), PIXELS / 4095) == ""


@pytest.mark.parametrize(
    ("pixels", "header", "signed"),
    [
        (SIGNED, {"PixelRepresentation": 0}, 1),
        (SIGNED, TWELVE | {"PixelRepresentation": 0}, 1),
        (SIGNED.view(np.uint16) & 4095, TWELVE, 1),
        (PIXELS, TWELVE | {"PixelRepresentation": 1}, 0),
        (chest(65535), {"PixelRepresentation": 1}, 0),
        (chest(255, np.uint16) * 257, {"PixelRepresentation": 1}, 0),
        (chest(255, np.uint8), {"PixelRepresentation": 1}, 0),
        (SIGNED, TWELVE, None),
        (SIGNED.view(np.uint16) & 4095, TWELVE | {"PixelRepresentation": 1}, None),
    ],
)
def test_values_that_run_on_across_the_end_of_the_range_have_the_other_sign(pixels, header, signed):
    got = corrections(dicom_dataset(pixels, **header), PIXELS / 4095)
    assert got.startswith(
        f"PixelRepresentation was taken as {signed} " if signed is not None else ""
    )
    assert bool(got) == (signed is not None)


def test_a_bright_marker_on_dark_unsigned_pixels_stays_bright():
    """Its value is −1 if it is read as signed, which would be smoother."""
    pixels = PIXELS.copy()
    pixels[:5, :5] = 65535
    assert corrections(dicom_dataset(pixels), pixels / 65535) == ""


def test_letters_in_more_bits_than_the_image_has_are_cut_off():
    pixels = PIXELS.copy()
    pixels[5:25:4, 5:40] = 65535
    assert corrections(dicom_dataset(pixels, **TWELVE), (pixels & 4095) / 4095) == ""


@pytest.mark.parametrize("absorption", [2, 4, 8])
def test_raw_pixels_of_a_detector_keep_their_sign(absorption):
    """They are dense near both ends: the beam itself, and the mediastinum."""
    pixels = np.rint(4095 * np.exp(PIXELS / -4095 * absorption)).astype(np.uint16)
    low = pixels.min()
    assert corrections(dicom_dataset(pixels, **TWELVE), (pixels - low) / (4095.0 - low)) == ""


def test_an_overlay_on_a_grainy_image_is_left_out():
    grain = np.random.default_rng(0).normal(0, 400, PIXELS.shape)
    grainy = np.clip(PIXELS + grain, 0, 4095).astype(np.uint16)
    pixels = grainy | np.where(ROW % 20 < 3, 1 << 15, 0).astype(np.uint16)
    assert corrections(dicom_dataset(pixels, **TWELVE), grainy / 4095) == ""
