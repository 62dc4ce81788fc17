"""Finds the exposed field of a radiograph that shutters surround, or the rest of a large film."""

import numpy as np
from PIL import Image

from service.arrays import FloatArray, UInt8

CELLS = 64
"""Cells a side whose means are looked at: they are free of grain."""
PLAIN = 0.12
"""Part of the range of grey, from its darkest or its brightest end, that counts as border."""
MIN_FILLED = 0.4
"""Fraction of a field's edges, at least, along which something is exposed.

Of real chests it is .46 at least, of a hand, which no straight edge cuts off, .24 at most.
"""
MIN_BLACK, MIN_WHITE = 16, 38
"""Cells a side of the smallest field in a black and in a white border.

Black is the rest of a film or of a screen. White is the shadow of shutters, and those of a chest
leave most of the detector free; those of a leg do not, and its field alone resembles a chest.
"""
Field = tuple[slice, slice]
"""Rows and columns."""


def cells_of(pixels: UInt8) -> FloatArray:
    """Returns the mean grey of each cell of an image uint8[H,W] as float32[CELLS,CELLS]."""
    image = Image.fromarray(pixels).resize((CELLS, CELLS), Image.Resampling.BOX)
    return np.asarray(image, np.float32)


def exposed(pixels: UInt8) -> UInt8:
    """Returns the part of an image uint8[H,W] inside of a black border, and then of a white one."""
    return pixels[exposed_field(pixels, cells_of(pixels))]


def exposed_cells(pixels: UInt8) -> FloatArray:
    """Returns `cells_of(exposed(pixels))`, whose cells are computed once if there is no border."""
    cells = cells_of(pixels)
    part = pixels[exposed_field(pixels, cells)]
    return cells if part.shape == pixels.shape else cells_of(part)


def exposed_field(pixels: UInt8, cells: FloatArray) -> Field:
    """Returns where `exposed(pixels)` lies. cells: `cells_of(pixels)`."""
    outer = _inside(cells, MIN_BLACK)
    inner = _inside(-cells[outer], MIN_WHITE)
    rows, columns = (
        slice(int(o.start + i.start) * side // CELLS, -(-int(o.start + i.stop) * side // CELLS))
        for o, i, side in zip(outer, inner, pixels.shape, strict=True)
    )
    return rows, columns


def _inside(cells: FloatArray, least: int) -> Field:
    """All cells but the dark rows and columns around them, if a field has such straight edges."""
    low, high = np.quantile(cells, [0.02, 0.98])
    filled = cells > low + PLAIN * (high - low)
    rows, columns = (np.flatnonzero(filled.any(axis)) for axis in (1, 0))
    if len(rows) and min(np.ptp(rows), np.ptp(columns)) + 1 >= least:
        field = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        sides = (np.rot90(filled[field], turn)[:2].any(axis=0).mean() for turn in range(4))
        if sum(sides) / 4 >= MIN_FILLED:
            return field
    return slice(0, cells.shape[0]), slice(0, cells.shape[1])
