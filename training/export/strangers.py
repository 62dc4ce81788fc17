"""Makes images that are no upright chest radiographs, to measure a gate on."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_sample_images

from service.arrays import UInt8

SIDE = 96
MADE = 120
"""Images of each kind that is not made of the validation images."""
CROPS = 60
"""Square crops of each photograph."""

TURNS: dict[str, Callable[[UInt8], UInt8]] = {
    "upside down": lambda image: image[::-1],
    "on its left side": np.rot90,
    "on its right side": lambda image: np.rot90(image, 3),
    "inverted": lambda image: 255 - image,
}
"""Kind → what is done to a radiograph uint8[H,W]."""


def strangers() -> dict[str, list[UInt8]]:
    """Returns kind → images uint8[SIDE,SIDE], the same at every call."""
    random = np.random.default_rng(0)
    return {
        "noise": [_noise(random) for _ in range(MADE)],
        "photographs": list(_photographs(random)),
        "drawn limbs": [_limb(random) for _ in range(MADE)],
    }


def _noise(random: np.random.Generator) -> UInt8:
    """White noise, or noise whose amplitude falls with the frequency, as in natural images."""
    across, down = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE))
    frequency = np.maximum(np.hypot(across, down), 1 / SIDE)
    white = np.fft.fft2(random.normal(size=(SIDE, SIDE)))
    return _levels(np.fft.ifft2(white / frequency ** random.uniform(0, 1.5)).real)


def _photographs(random: np.random.Generator) -> Iterator[UInt8]:
    """Grey crops of scikit-learn's two sample photographs."""
    for photograph in load_sample_images().images:
        grey = Image.fromarray(photograph).convert("L")
        for _ in range(CROPS):
            side = int(min(grey.size) * random.uniform(0.3, 1))
            left, top = (int(random.integers(0, length - side + 1)) for length in grey.size)
            crop = grey.resize((SIDE, SIDE), box=(left, top, left + side, top + side))
            yield np.asarray(crop)


def _limb(random: np.random.Generator) -> UInt8:
    """An arm or leg on a dark ground: soft tissue, one or two long bones, and a joint."""
    image = Image.new("L", (2 * SIDE, 2 * SIDE), int(random.integers(0, 30)))
    draw = ImageDraw.Draw(image)
    soft, bone = int(random.integers(60, 130)), int(random.integers(160, 250))
    centre, half = SIDE + random.normal(0, 6), random.uniform(22, 40)
    taper = half * random.uniform(0.5, 0.9)
    outline = [(centre - half, 0), (centre + half, 0), (centre + taper, 192), (centre - taper, 192)]
    draw.polygon(outline, soft)
    for offset in random.choice([-0.45, 0.1, 0.4], int(random.integers(1, 3)), replace=False):
        across = centre + offset * half
        draw.line((across, 0, across, 192), bone, int(random.integers(6, 16)))
    joint, size = random.uniform(60, 150), random.uniform(0.5, 0.9) * half
    draw.ellipse((centre - size, joint - size, centre + size, joint + size), bone)
    turned = image.rotate(random.uniform(-20, 20), fillcolor=image.getpixel((0, 0)))
    near = turned.filter(ImageFilter.GaussianBlur(2)).crop((48, 48, 144, 144))
    return _levels(np.asarray(near) + random.normal(0, 3, (SIDE, SIDE)))


def _levels(values: npt.NDArray[np.float64]) -> UInt8:
    low, high = values.min(), values.max()
    levels: UInt8 = ((values - low) * (255 / (high - low))).astype(np.uint8)
    return levels
