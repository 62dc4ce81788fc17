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

Layers = tuple[Pixels, Pixels | None]
"""Gray values, and how opaque each pixel is (0 to the dtype's greatest; None: all opaque)."""
TRANSPARENT = "Transparent pixels are shown on black."
STRAYS = "A few values far from all others, such as letters, are shown black or white."
_STRAY = 0.001
"""Share of the pixels, at either end, that may be letters or faults of the detector."""
_FAR = 8
"""They are left out where they stretch the range of values by more than this factor."""
_STRIP = 256
"""Rows that are computed at a time: a float64 image takes four times the memory of a uint16 one."""
_PART = 2**20
"""Values that are counted at a time: numpy takes eight bytes for each."""
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
    is_deep = lower is not None or image.mode == "I;16"
    values, opacity = _deep(image, lower) if is_deep else _shallow(image)
    if opacity is not None and not opacity.any():
        raise ImageNotARadiograph(
            "Every pixel is transparent. Save the image without transparency."
        )
    window = Window(0, 255, "stored-range")
    said: list[str] = []
    if values.dtype != np.uint8:
        window, said = _value_range(values if opacity is None else values[opacity > 0])
        values = _stretch(values, window.low, window.high)
    if opacity is not None:
        values, said = _on_black(values, opacity), [*said, TRANSPARENT]
    return values, window, tuple(said)


def _value_range(values: Pixels) -> tuple[Window, list[str]]:
    """The least and the greatest value, but for a few that would leave no grays to the others.

    Example: letters of 65535 on a radiograph of 0…4095 leave it nearly black.
    """
    counts = np.zeros(2**16, np.int64)
    for part in np.array_split(values.ravel(), values.size // _PART + 1):
        counts += np.bincount(part, minlength=2**16)
    low, high = (int(end) for end in np.flatnonzero(counts)[[0, -1]])
    shares = counts.cumsum() / values.size
    first, last = (int(end) for end in np.searchsorted(shares, [_STRAY, 1 - _STRAY]))
    if first == last or high - low <= _FAR * (last - first):
        return Window(low, high, "value-range"), []
    return Window(first, last, "value-range"), [STRAYS]


def _shallow(image: Image.Image) -> Layers:
    if image.mode == "P":
        _check_palette(image)
    if not image.has_transparency_data:
        return np.array(image.convert("L")), None
    if image.mode not in ("LA", "RGBA"):
        image = image.convert("RGBA")
    opacity = np.asarray(image.getchannel("A"))
    return np.array(image.convert("L")), None if opacity.min() == 255 else opacity


def _deep(image: Image.Image, lower: Image.Image | None) -> Layers:
    samples = np.asarray(image).astype(np.uint16, copy=False)
    if lower is not None:
        samples = samples << 8 | np.asarray(lower)
    samples = samples.reshape(*samples.shape[:2], -1)
    opacity: npt.NDArray[np.uint16] | None = None
    if samples.shape[2] == 4:
        opacity = samples[..., 3]
    elif (key := image.info.get("transparency")) is not None:  # one sample of each channel
        opacity = (samples != key).any(axis=2) * np.uint16(65535)
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


def _stretch(values: Pixels, low: float, high: float) -> npt.NDArray[np.uint16]:
    """Maps low…high onto 0…65535, and clips other values."""
    levels = np.empty(values.shape, np.uint16)
    for top in range(0, len(values), _STRIP):
        strip = values[top : top + _STRIP].clip(low, high).astype(np.float64)
        levels[top : top + _STRIP] = np.rint((strip - low) * (65535 / max(high - low, 1)))
    return levels


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
