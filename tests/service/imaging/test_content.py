"""Which images are surely no radiographs, and which odd radiographs must still pass."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.errors import ImageNotARadiograph
from service.imaging.content import refusal, require_radiographs
from service.imaging.decode import ImageLimits, decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, ramp
from tests.support.paths import RADIOGRAPH, ROOT
from tests.support.pictures import file_of, hand, page, photographs

RANDOM = np.random.default_rng(0)
with Image.open(RADIOGRAPH) as opened:
    CHEST = np.asarray(opened.convert("L"))
SIDE = len(CHEST)


def noise(rows=96, columns=96):
    return RANDOM.integers(0, 256, (rows, columns)).astype(np.uint8)


def tinted(*powers):
    """The radiograph as a scan of tinted film: each channel has a curve of its own."""
    channels = [(CHEST / 255) ** power * 255 for power in powers]
    return np.stack(channels, axis=-1).astype(np.uint8)


def marked():
    """The radiograph with a coloured arrow, letters, a ring and a box."""
    image = Image.fromarray(CHEST).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.line((40, 40, 100, 100), (255, 220, 0), 6)
    draw.text((5, 5), "RIGHT 1 of 2", (0, 255, 0))
    draw.ellipse((150, 150, 190, 190), outline=(255, 0, 0), width=3)
    draw.rectangle((200, 10, 240, 26), (0, 80, 255))
    return image


def shuttered():
    """The radiograph between white shutters that cover two fifths of the picture."""
    shown = CHEST.copy()
    shown[:, : SIDE // 5] = shown[:, -SIDE // 5 :] = 255
    return shown


def grainy():
    """The radiograph with the noise of far too low a dose."""
    return np.clip(CHEST + RANDOM.normal(0, 60, CHEST.shape), 0, 255).astype(np.uint8)


def colour_map():
    return np.stack([CHEST, 255 - CHEST, np.roll(CHEST, 128)], axis=-1)


STRANGERS = {
    "a colour photograph": (file_of(photographs()[0]), "colour"),
    "a colour JPEG": (file_of(photographs()[1], "JPEG", quality=40), "colour"),
    "a photograph with a palette": (
        file_of(Image.fromarray(photographs()[1]).quantize(64)),
        "colour",
    ),
    "a photograph with transparency": (
        file_of(Image.fromarray(photographs()[1]).convert("RGBA")),
        "colour",
    ),
    "a photograph in CMYK": (
        file_of(Image.fromarray(photographs()[1]).convert("CMYK"), "JPEG"),
        "colour",
    ),
    "a colour map": (file_of(colour_map()), "colour"),
    "a white page": (file_of(page()), "page"),
    "a dark page": (file_of(page(ground=35, ink=225)), "page"),
    "a page as JPEG": (file_of(page(), "JPEG"), "page"),
    "a page made smaller": (file_of(page().resize((300, 225))), "page"),
    "a screenshot of the workbench": (
        (ROOT / "docs" / "figures" / "workbench.png").read_bytes(),
        "page",
    ),
    "noise": (file_of(noise()), "noise"),
    "large noise": (file_of(noise(700, 900)), "noise"),
    "noise in blocks": (file_of(np.kron(noise(60, 60), np.ones((4, 4), np.uint8))), "noise"),
    "salt and pepper": (file_of((noise() > 127).astype(np.uint8) * 255), "grey levels"),
    "deep noise": (file_of(noise().astype(np.uint16) << 8), "noise"),
    "noise in DICOM": (
        dicom_bytes(dicom_dataset(RANDOM.integers(0, 4096, (96, 96)).astype(np.uint16))),
        "noise",
    ),
    "a hand": (file_of(hand(0)), "hand"),
    "a hand on bright film": (file_of(hand(1) // 2 + 90), "hand"),
    "a hand with its fingers down": (file_of(hand(2)[::-1]), "hand"),
    "a hand in DICOM": (dicom_bytes(dicom_dataset(hand(3).astype(np.uint16) * 16)), "hand"),
    "stripes": (file_of(np.tile(np.array([0, 255], np.uint8), (96, 48))), "grey levels"),
    "three grey levels": (file_of(ramp() // 86 * 86), "grey levels"),
    "one pixel unlike all others": (file_of(np.pad([[9]], 40).astype(np.uint8)), "grey levels"),
}
RADIOGRAPHS = {
    "grey": file_of(CHEST),
    "grey as a colour JPEG": file_of(Image.fromarray(CHEST).convert("RGB"), "JPEG", quality=20),
    "sepia": file_of(tinted(1, 1.15, 1.5)),
    "blue film": file_of(tinted(1.3, 1.1, 0.8), "JPEG", quality=60),
    "with coloured marks": file_of(marked(), "JPEG"),
    "with a coloured heatmap": (RADIOGRAPH.parent / "gaze.png").read_bytes(),
    "between white shutters": file_of(shuttered()),
    "inverted": file_of(255 - CHEST),
    "on a large film": file_of(np.pad(CHEST, SIDE // 2)),
    "in a corner of a film": file_of(np.pad(CHEST, ((0, SIDE // 2), (SIDE // 2, 0)))),
    "with a white margin": file_of(np.pad(CHEST, 30, constant_values=255)),
    "grainy": file_of(grainy()),
    "pale": file_of(CHEST // 8 + 100),
    "deep": file_of(CHEST.astype(np.uint16) * 16),
    "with a palette": file_of(Image.fromarray(CHEST).convert("P")),
    "small": file_of(Image.fromarray(CHEST).resize((40, 40))),
    "large": file_of(Image.fromarray(CHEST).resize((2000, 1700))),
    "a smooth ramp": file_of(ramp()),
}


@pytest.mark.parametrize(("data", "named"), STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_radiograph_is_decoded_with_a_sure_doubt(data, named):
    """Decoded, because an embedding harms nobody; a report or a finding of it would."""
    radiograph = decode(data, ImageLimits())
    assert radiograph.warnings
    assert named in str(refusal([radiograph]))
    with pytest.raises(ImageNotARadiograph, match=named):
        require_radiographs([decode(RADIOGRAPHS["grey"], ImageLimits()), radiograph])


@pytest.mark.parametrize("data", RADIOGRAPHS.values(), ids=RADIOGRAPHS)
def test_an_odd_radiograph_is_not_doubted(data):
    radiograph = decode(data, ImageLimits())
    assert radiograph.warnings == ()
    require_radiographs([radiograph])


@pytest.mark.parametrize(
    ("picture", "refused"), [(hand(3), False), (noise(), False), (np.asarray(page()), True)]
)
def test_a_header_that_names_a_chest_outweighs_all_but_a_page(picture, refused):
    pixels = picture.astype(np.uint16) * 16
    data = dicom_bytes(dicom_dataset(pixels, BodyPartExamined="CHEST"))
    radiograph = decode(data, ImageLimits())
    assert radiograph.warnings
    assert bool(refusal([radiograph])) == refused


@pytest.mark.slow
def test_no_real_radiograph_is_doubted_by_its_levels(shared_data):
    """The benchmark `gate` asks all of them; these are every fourth."""
    images = [*sorted(shared_data.glob("*/images/*"))[::4], *shared_data.glob("dicom/*.dcm")]
    assert len(images) > 1_000
    doubted = [path for path in images if decode(path.read_bytes(), ImageLimits()).doubts]
    assert doubted == []
