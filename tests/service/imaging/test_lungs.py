"""The box around the lung fields: where they are, and what is said where none are seen."""

import numpy as np
import pytest
from PIL import Image

from service.imaging.lungs import lung_fields
from tests.support.paths import RADIOGRAPH

with Image.open(RADIOGRAPH) as opened:
    CHEST = np.asarray(opened.convert("L").resize((256, 256)))
NOISE = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)


def edges(box):
    return box.left, box.top, box.left + box.width, box.top + box.height


def test_the_box_lies_around_the_lungs():
    fields = lung_fields(CHEST)
    assert fields.found
    assert edges(fields.box) == pytest.approx((0.15, 0.12, 0.85, 0.87), abs=0.1)


def test_a_black_border_moves_the_box_with_the_chest():
    alone, framed = lung_fields(CHEST), lung_fields(np.pad(CHEST, ((128, 0), (0, 256))))
    left, top, right, bottom = edges(alone.box)
    expected = (left / 2, (1 + 2 * top) / 3, right / 2, (1 + 2 * bottom) / 3)
    assert framed.found
    assert edges(framed.box) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("image", [NOISE, np.rot90(CHEST), np.full((64, 64), 90, np.uint8)])
def test_what_shows_no_lungs_has_the_whole_field(image):
    fields = lung_fields(image)
    assert not fields.found
    assert fields.box.width * fields.box.height > 0.9
