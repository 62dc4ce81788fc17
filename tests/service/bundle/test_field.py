"""Borders are cut off where a field with straight edges is left."""

import numpy as np
import pytest
from PIL import Image

from service.bundle.field import cells_of, exposed, exposed_cells
from tests.support.paths import RADIOGRAPH
from tests.support.pictures import hand

with Image.open(RADIOGRAPH) as opened:
    CHEST = exposed(np.asarray(opened.convert("L").resize((128, 128))))


@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("border", [((32, 32), (32, 32)), ((0, 64), (40, 0)), ((30, 0), (0, 0))])
def test_a_border_is_cut_off(border, grey):
    framed = np.pad(CHEST, border, constant_values=grey)
    assert exposed(framed).shape == pytest.approx(CHEST.shape, abs=8)


@pytest.mark.parametrize(
    "image",
    [
        CHEST,
        hand(0),
        hand(1)[::-1],
        np.zeros((40, 40), np.uint8),
        np.pad([[9]], 40).astype(np.uint8),
        np.pad(CHEST, 128, constant_values=255),
    ],
    ids=["a chest", "a hand", "a hand with its fingers down", "nothing", "a dot", "a small strip"],
)
def test_nothing_else_is_cut_off(image):
    assert exposed(image).shape == image.shape


@pytest.mark.parametrize("border", [0, 40])
def test_the_cells_of_what_is_exposed_are_those_of_that_part_alone(border):
    framed = np.pad(CHEST, border)
    assert (exposed(framed).shape == framed.shape) == (border == 0)
    np.testing.assert_array_equal(exposed_cells(framed), cells_of(exposed(framed)))
