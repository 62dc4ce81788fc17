import io

import numpy as np
import pytest
from PIL import Image

from service.bundle.preprocess import ImageSpec, Rectangle, shown_part
from service.imaging.decode import ImageLimits, decode
from service.imaging.overlay import OVERLAY_SIDE, overlay
from tests.service.imaging.conftest import picture

CORNER = np.zeros((8, 8), np.float32)
CORNER[0, 0] = 1


def radiograph(rows, columns):
    levels = np.linspace(0, 255, rows * columns).reshape(rows, columns).astype(np.uint8)
    return decode(picture(Image.fromarray(levels), "PNG"), ImageLimits()).reduced(OVERLAY_SIDE)


def drawn(shape, part, grid=CORNER, caption=None):
    """The picture's tint, int[rows, columns]."""
    png = overlay(radiograph(*shape), part, grid, caption)
    levels = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    return levels[..., 0] - levels[..., 2]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((40, 60), (341, 512)), ((600, 400), (600, 400)), ((1500, 3000), (512, 1024))],
)
def test_the_picture_keeps_the_aspect_between_512_and_1024_pixels(shape, size):
    assert drawn(shape, shown_part(shape[::-1], ImageSpec(height=64, width=64))).shape == size


def test_what_is_padded_is_cut_off_and_what_is_cropped_has_no_tint():
    padded = drawn((600, 300), Rectangle(-150, 0, 600, 600), np.roll(CORNER, 2, axis=1))
    assert np.argwhere(padded > 60)[:, 1].max() < 100
    assert padded[0, 0] > 60
    cropped = drawn((600, 300), Rectangle(0, 150, 300, 300))
    assert (cropped[:150] == 0).all()
    assert cropped[155, 5] > 60


def test_a_map_that_is_the_same_everywhere_tints_nothing():
    assert (drawn((600, 600), Rectangle(0, 0, 600, 600), np.full((8, 8), 1 / 64)) == 0).all()


def test_a_caption_is_written_into_the_picture():
    tint = drawn((600, 600), Rectangle(0, 0, 600, 600), np.zeros((8, 8)), "not validated")
    assert (tint[:40] > 60).sum() > 100
