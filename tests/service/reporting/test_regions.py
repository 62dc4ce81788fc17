"""Where a map points: its zone, its box, and the side that a sentence names."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.imaging.lungs import Box
from tests.support.regions import LUNGS, pointing, spot

ANY_MAP = arrays.arrays(np.float32, (8, 8), elements=st.floats(-1, 1, width=32, allow_nan=False))
MIRRORED = {"agrees": "disagrees", "disagrees": "agrees", "unclear": "unclear"}


def region(grid, side=None, **changes):
    return replace(pointing(effusion=grid), **changes).region("effusion", side)


@pytest.mark.parametrize(
    ("x", "y", "zone"),
    [
        (0.3, 0.25, "right upper"), (0.7, 0.25, "left upper"), (0.3, 0.5, "right mid"),
        (0.7, 0.5, "left mid"), (0.3, 0.75, "right lower"), (0.7, 0.75, "left lower"),
        (0.05, 0.97, None),
    ],
)  # fmt: skip
def test_the_zone_is_the_side_and_the_third_that_the_map_points_to(x, y, zone):
    assert region(spot(x, y)).zone == zone


@settings(max_examples=50)
@given(ANY_MAP)
def test_a_mirrored_map_points_to_the_mirrored_zone_box_and_side(grid):
    here, there = region(grid, "left"), region(grid[:, ::-1], "left")
    if here is None or there is None:
        assert here == there
        return
    assert MIRRORED[here.agrees] == there.agrees
    if here.zone is not None and here.agrees != "unclear":
        other = {"left": "right", "right": "left"}
        side, third = here.zone.split()
        assert there.zone in {f"{other[side]} {level}" for level in ("upper", "mid", "lower")}
        assert there.zone.split()[1] == third or _is_tied(grid)


def _is_tied(grid):
    """Whether two thirds may hold as much of the decile, so that the first of them counts."""
    return len(np.unique(grid)) < grid.size


@given(ANY_MAP)
def test_the_box_lies_in_the_radiograph(grid):
    if (found := region(grid)) is not None:
        box = found.box
        assert min(box.left, box.top) >= 0
        assert min(box.width, box.height) > 0
        assert max(box.left + box.width, box.top + box.height) <= 1 + 1e-6


@given(st.floats(0.15, 0.85), st.floats(0.15, 0.85))
def test_the_box_holds_the_place_that_the_map_points_to(x, y):
    box = region(spot(x, y)).box
    assert box.left <= x <= box.left + box.width
    assert box.top <= y <= box.top + box.height


def test_the_box_of_two_spots_is_that_of_the_larger_one():
    box = region(np.maximum(spot(0.25, 0.3), 0.9 * spot(0.8, 0.8))).box
    assert box.left + box.width < 0.5


def test_a_map_of_a_part_is_placed_in_the_whole_radiograph():
    middle = region(spot(0.5, 0.5), part=Box(0.25, 0, 0.5, 1)).box
    assert middle.left + middle.width / 2 == pytest.approx(0.5, abs=0.02)
    assert middle.width == pytest.approx(region(spot(0.5, 0.5)).box.width / 2, abs=0.02)


def test_padding_around_the_radiograph_is_never_pointed_at():
    padded = region(spot(0.05, 0.5), part=Box(-0.5, 0, 2, 1))
    assert padded.box.left >= 0


@pytest.mark.parametrize("level", [1, np.nan])
def test_a_map_that_is_flat_or_no_number_points_nowhere(level):
    assert region(np.full((8, 8), level, np.float32)) is None


def test_a_radiograph_that_fills_no_sample_of_its_map_is_pointed_at_nowhere():
    assert region(spot(0.5, 0.5), part=Box(0, -50, 1, 101)) is None


@pytest.mark.parametrize(
    ("x", "side", "agrees"),
    [
        (0.75, "left", "agrees"), (0.75, "right", "disagrees"), (0.25, "right", "agrees"),
        (0.25, "left", "disagrees"), (0.5, "left", "unclear"), (0.25, None, None),
    ],
)  # fmt: skip
def test_the_patients_left_is_on_the_right_of_the_image(x, side, agrees):
    assert region(spot(x, 0.5), side).agrees == agrees


def test_it_is_said_where_the_lungs_were_not_found():
    assert region(spot(0.7, 0.5), lungs=replace(LUNGS, found=False)).lungs_found is False
