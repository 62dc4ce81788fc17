"""Draws pictures that are no chest radiographs, and files of them."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_sample_images

from service.arrays import UInt8

WORDS = "Dear colleague, thank you for sending this patient to our department. "


def file_of(picture: Image.Image | UInt8, format: str = "PNG", **arguments: object) -> bytes:
    """Returns the picture, or the grey levels [rows, columns] or [rows, columns, 3], as a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, format, **arguments)
    return file.getvalue()


def photographs() -> list[UInt8]:
    """Returns two colour photographs, uint8[rows, columns, 3]."""
    return list(load_sample_images().images)


def hand(seed: int, side: int = 256) -> UInt8:
    """Returns a drawn radiograph of a hand, uint8[side, side]: fingers up, on a dark ground."""
    random = np.random.default_rng(seed)
    image = Image.new("L", (256, 256), int(random.integers(0, 30)))
    draw = ImageDraw.Draw(image)
    soft, bone = int(random.integers(70, 120)), int(random.integers(160, 245))
    centre = 128 + random.normal(0, 8)
    draw.rounded_rectangle((centre - 48, 110, centre + 48, 200), 30, soft)
    draw.rectangle((centre - 30, 190, centre + 30, 256), soft)
    rays = [(-35, 165, -55, 75), (-40, 125, -18, 80), (-14, 125, -6, 95), (12, 125, 4, 92)]
    for across, down, angle, length in [*rays, (36, 125, 14, 75)]:
        turn = np.deg2rad(angle + random.normal(0, 3))
        base, along = np.array([centre + across, down]), np.array([np.sin(turn), -np.cos(turn)])
        draw.line([*base, *(base + along * length)], soft, 22)
        for start, end in ((-0.6, -0.1), (0.02, 0.42), (0.48, 0.75), (0.8, 0.98)):
            draw.line([*(base + along * length * start), *(base + along * length * end)], bone, 9)
    for left, right in ((-24, -6), (6, 22)):
        draw.rectangle((centre + left, 205, centre + right, 256), bone)
    blurred = image.filter(ImageFilter.GaussianBlur(1.5)).resize((side, side))
    return np.clip(np.asarray(blurred) + random.normal(0, 4, (side, side)), 0, 255).astype(np.uint8)


def page(ground: int = 255, ink: int = 20, size: tuple[int, int] = (800, 600)) -> Image.Image:
    """Returns a grey page of text with a panel at its left, as of a program or a letter."""
    image = Image.new("L", size, ground)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] // 6, size[1]), (ground + ink) // 2)
    for top in range(20, size[1] - 20, 22):
        draw.text((size[0] // 6 + 20, top), WORDS, ink, font_size=16)
    return image
