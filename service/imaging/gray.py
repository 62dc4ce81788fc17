"""Turns an opened PNG or JPEG into gray levels.

Colour becomes luma (ITU-R BT.601). What is transparent becomes black, as air is. Samples of 16 bits
are stretched from the least to the greatest that is seen, because files of 10 or 12 bits do not say
so; samples of 8 bits stay as they are. Gamma and colour profiles are not applied.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.errors import ImageNotARadiograph, ImageUndecodable
from service.imaging.radiograph import Pixels, Window

TRANSPARENT = "Transparent pixels are shown on black."
_STRIP = 256
"""Rows that are computed at a time: a float64 image takes four times the memory of a uint16 one."""
_LUMA = np.array([19595, 38470, 7471], np.uint32)
"""Shares of red, green and blue in 65536, the same as Pillow's."""


def to_gray(
    image: Image.Image, lower: Image.Image | None = None
) -> tuple[Pixels, Window, tuple[str, ...]]:
    """Returns gray levels [rows, columns] over the dtype's whole range, window and corrections.

    lower: the lower bytes of an image of 16-bit colour (see `service.imaging.png`).

    Raises ImageNotARadiograph if all is transparent, ImageUndecodable for an index outside the
    palette.
    """
    values, opacity = _shallow(image) if _is_shallow(image, lower) else _deep(image, lower)
    if opacity is not None and not opacity.any():
        raise ImageNotARadiograph(
            "Every pixel is transparent. Save the image without transparency."
        )
    window = Window(0, 255, "stored-range")
    if values.dtype != np.uint8:
        seen = values if opacity is None else values[opacity > 0]
        window = Window(int(seen.min()), int(seen.max()), "value-range")
        values = stretch(values, window.low, window.high)
    if opacity is None:
        return values, window, ()
    return _on_black(values, opacity), window, (TRANSPARENT,)


def stretch(values: npt.NDArray[np.integer], low: float, high: float) -> npt.NDArray[np.uint16]:
    """Maps low…high of integers [rows, columns] onto 0…65535, and clips others."""
    levels = np.empty(values.shape, np.uint16)
    for top in range(0, len(values), _STRIP):
        strip = values[top : top + _STRIP].clip(low, high).astype(np.float64)
        levels[top : top + _STRIP] = np.rint((strip - low) * (65535 / max(high - low, 1)))
    return levels


Layers = tuple[Pixels, Pixels | None]
"""Gray values, and how opaque each pixel is (0 to the dtype's greatest; None: all opaque)."""


def _is_shallow(image: Image.Image, lower: Image.Image | None) -> bool:
    return lower is None and image.mode != "I;16"


def _shallow(image: Image.Image) -> Layers:
    if image.mode == "P":
        _check_palette(image)
    if not image.has_transparency_data:
        return np.array(image.convert("L")), None
    image = image.convert("RGBA")
    opacity = np.asarray(image.getchannel("A"))
    return np.array(image.convert("L")), None if opacity.min() == 255 else opacity


def _deep(image: Image.Image, lower: Image.Image | None) -> Layers:
    samples = np.asarray(image).astype(np.uint16)
    if lower is not None:
        samples = samples << 8 | np.asarray(lower)
    samples = samples.reshape(*samples.shape[:2], -1)
    opacity: npt.NDArray[np.uint16] | None = None
    if samples.shape[2] == 4:
        opacity = samples[..., 3]
    elif (key := image.info.get("transparency")) is not None:  # one sample of each channel
        opacity = np.where((samples == key).all(axis=2), 0, 65535).astype(np.uint16)
    is_opaque = opacity is None or opacity.min() == 65535
    return _luma(samples[..., :3]), None if is_opaque else opacity


def _luma(samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """uint16[rows, columns, 1 or 3] → uint16[rows, columns]."""
    if samples.shape[2] == 1:
        return samples[..., 0]
    luma = np.empty(samples.shape[:2], np.uint16)
    for top in range(0, len(samples), _STRIP):
        luma[top : top + _STRIP] = (samples[top : top + _STRIP] @ _LUMA + 2**15) >> 16
    return luma


def _on_black(levels: Pixels, opacity: Pixels) -> Pixels:
    shown = np.empty_like(levels)
    for top in range(0, len(levels), _STRIP):
        share = opacity[top : top + _STRIP] / np.iinfo(opacity.dtype).max
        shown[top : top + _STRIP] = np.rint(levels[top : top + _STRIP] * share)
    return shown


def _check_palette(image: Image.Image) -> None:
    """Raises ImageUndecodable for a pixel without a colour, which Pillow shows black."""
    colours = len(image.getpalette() or []) // 3
    greatest = int(np.asarray(image).max())
    if greatest >= colours:
        raise ImageUndecodable(
            f"The PNG has {colours} colours in its palette, and a pixel of colour {greatest}. "
            "Save it again."
        )
