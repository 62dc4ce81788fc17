"""Pixels that are not square."""

import numpy as np
import pytest
from PIL import Image

from service.errors import ImageTooLarge
from service.imaging.decode import ImageLimits, decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, chest

TRUE = chest(4095)


@pytest.mark.parametrize("keyword", ["ImagerPixelSpacing", "PixelSpacing", "PixelAspectRatio"])
@pytest.mark.parametrize(("height", "width"), [(2, 1), (1, 2), (4, 2)])
def test_an_image_gets_its_true_shape(keyword, height, width):
    kept = TRUE[::2] if height > width else TRUE[:, ::2]
    radiograph = decode(dicom_bytes(dicom_dataset(kept, **{keyword: [height, width]})), LIMITS)
    assert (radiograph.rows, radiograph.columns) == radiograph.pixels.shape == TRUE.shape
    assert np.abs(radiograph.pixels / 65535 - TRUE / 4095).mean() < 0.02
    assert "square" in " ".join(radiograph.corrections)
    if keyword != "PixelAspectRatio":
        assert radiograph.spacing_mm == (min(height, width), min(height, width))


@pytest.mark.parametrize(
    "header",
    [
        {"ImagerPixelSpacing": [0.143, 0.1435]},
        {"PixelAspectRatio": [1, 1]},
        {"PixelAspectRatio": [0, 1]},
        {"PixelAspectRatio": 2},
        {"ImagerPixelSpacing": [0.1, 0.1], "PixelAspectRatio": [2, 1]},
        {"ImagerPixelSpacing": [0.1, 0.1], "PixelSpacing": [0.2, 0.1]},
    ],
)
def test_pixels_that_are_square_or_whose_shape_is_unsure_stay(header):
    radiograph = decode(dicom_bytes(dicom_dataset(TRUE, **header)), LIMITS)
    assert radiograph.pixels.shape == TRUE.shape
    assert radiograph.corrections == ()


def test_the_limit_of_pixels_holds_for_the_true_shape():
    data = dicom_bytes(dicom_dataset(TRUE, PixelAspectRatio=[4, 1]))
    with pytest.raises(ImageTooLarge):
        decode(data, ImageLimits(max_pixels=2 * TRUE.size))


def test_no_gray_is_interpolated_where_none_was_between_two():
    flat = np.where(np.arange(64)[:, None] < 32, 1000, 2000) * np.ones((1, 48), int)
    radiograph = decode(
        dicom_bytes(dicom_dataset(flat.astype(np.uint16), PixelAspectRatio=[1, 2])), LIMITS
    )
    expected = np.asarray(Image.fromarray(np.where(flat < 1500, 0, 65535).astype(np.uint16)))
    np.testing.assert_array_equal(radiograph.pixels[:, ::2], expected)
