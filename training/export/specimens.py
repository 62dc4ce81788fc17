"""Cuts radiographs of several shapes, to compare how two programs prepare them."""

from service.arrays import UInt8
from training.data.phantom import PhantomConfig, phantom

SIDE = 512
SHORT, LONG = 200, range(201, 217)
"""Sides of nearly square images: each crop's margin is another one, even or odd."""
SHAPES = ((512, 512), (512, 421), (333, 480), (301, 223), (230, 511))
"""Rows and columns of the other images: square, upright and wide."""


def specimens() -> list[UInt8]:
    """Returns one phantom, cut to every shape: the same at every call."""
    ladder = [(side, SHORT) if side % 2 else (SHORT, side) for side in LONG]
    image = phantom(PhantomConfig(size=SIDE), 0).image
    return [image[:rows, :columns] for rows, columns in (*SHAPES, *ladder)]
