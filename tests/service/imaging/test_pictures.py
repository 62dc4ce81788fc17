import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.bundle.preprocess import ImageSpec
from service.errors import (
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnsupported,
)
from service.imaging.decode import ImageLimits, decode
from tests.service.imaging.conftest import picture, png_chunk, ramp
from tests.service.imaging.pictures import (
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    TURNS,
    density,
    doubled,
    exif,
    png,
    reckoned,
)

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=10**6)
BITS = {GRAY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)} | dict.fromkeys(
    (RGB, GRAY_ALPHA, RGB_ALPHA), (8, 16)
)
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
SHAPE = (64, 72)


def noise(top: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top + 1, (*SHAPE, channels))


def transparent(colour: int, bits: int, samples: np.ndarray) -> bytes:
    """The tRNS chunk that makes the first pixel's colour transparent, or some of a palette."""
    if colour == PALETTE:
        return bytes([0, 255, 77, 128][: min(2**bits, 4)])
    return samples[0, 0].astype(">u2").tobytes()


@given(st.data())
@settings(max_examples=100)
def test_grays_of_any_png_equal_a_reckoning_by_hand(data):
    colour = data.draw(st.sampled_from(list(BITS)), "colour")
    bits = data.draw(st.sampled_from(BITS[colour]), "bits")
    used = data.draw(st.integers(max(bits - 8, 1), bits), "bits used") if bits == 16 else bits
    top = 2**bits - 1
    samples = noise(2**used - 1, CHANNELS[colour], data.draw(st.integers(0, 99), "seed"))
    colours, opacity = samples[..., :3] / top, np.ones(SHAPE)
    chunks = []
    if colour == PALETTE:
        palette = np.random.default_rng(1).integers(0, 256, (2**bits, 3)).astype(np.uint8)
        chunks.append((b"PLTE", palette.tobytes()))
        colours = palette[samples[..., 0]] / 255
    if colour in (GRAY_ALPHA, RGB_ALPHA):
        colours, opacity = colours[..., : CHANNELS[colour] - 1], samples[..., -1] / top
    elif bits > 1 and data.draw(st.booleans(), "tRNS"):
        key = transparent(colour, bits, samples)
        chunks.append((b"tRNS", key))
        if colour == PALETTE:
            opacity = np.array([*key, *[255] * 256])[samples[..., 0]] / 255
        else:
            opacity = 1.0 - (samples == samples[0, 0]).all(axis=2)
    grays = reckoned(colours, opacity, stretched=bits == 16)
    across, down = data.draw(st.sampled_from([(1, 1), (2, 1), (1, 2)]), "density")
    chunks.append(density(across * 2834, down * 2834, data.draw(st.integers(0, 1), "unit")))
    turn = data.draw(st.sampled_from(list(TURNS)), "orientation")
    late = data.draw(st.booleans(), "orientation after the pixels")
    file = png(
        samples, bits, colour, *chunks, *[] if late else [exif(turn)],
        interlaced=data.draw(st.booleans(), "interlaced"), after=(exif(turn),) if late else (),
    )  # fmt: skip

    radiograph = decode(file, LIMITS)

    expected = TURNS[turn](grays if across == down else doubled(grays, int(across < down)))
    levels = 65535 if bits == 16 else 255
    assert radiograph.pixels.dtype == (np.uint16 if bits == 16 else np.uint8)
    roundings = 1 + (colours.shape[2] == 3) + (opacity.min() < 1) + (across != down)
    within = (0.51 * roundings) / (255 if colours.shape[2] == 3 else levels)
    np.testing.assert_allclose(radiograph.pixels / levels, expected, atol=within)
    assert radiograph.pixels.shape == (radiograph.rows, radiograph.columns)
    assert len(radiograph.corrections) == int(opacity.min() < 1) + int(across != down)


def test_twelve_of_sixteen_bits_in_colour_keep_all_their_levels():
    values = np.repeat(ramp(np.uint16, 4095)[..., None], 3, axis=2)
    radiograph = decode(png(values, 16, RGB), LIMITS)
    np.testing.assert_array_equal(
        radiograph.pixels, np.rint(ramp(np.uint16, 4095) * (65535 / 4095))
    )
    assert (radiograph.window.low, radiograph.window.high) == (0, 4095)


@pytest.mark.parametrize("stray", [[65535], [65535, 0]])
def test_a_few_stray_values_do_not_blacken_the_rest(stray):
    values = ramp(np.uint16, 2000) + 30_000
    values[0, : len(stray)] = stray
    radiograph = decode(png(values[..., None], 16, GRAY), LIMITS)
    assert np.percentile(radiograph.pixels, [1, 50, 99]) == pytest.approx(
        [655, 32767, 64880], abs=200
    )
    assert "far from all others" in radiograph.corrections[0]


@pytest.mark.parametrize("top", [255, 1023, 4095, 65535])
def test_a_range_without_strays_is_shown_whole(top):
    radiograph = decode(png(ramp(np.uint16, top)[..., None], 16, GRAY), LIMITS)
    assert (radiograph.window.low, radiograph.window.high) == (0, top)
    assert radiograph.corrections == ()


def test_colour_under_transparency_is_not_seen():
    values = np.concatenate([noise(255, 3), np.full((*SHAPE, 1), 255)], axis=2)
    values[:32, :, 3] = 0
    radiograph = decode(png(values, 8, RGB_ALPHA), LIMITS)
    assert not radiograph.pixels[:32].any()
    assert radiograph.pixels[32:].any()
    assert radiograph.corrections == ("Transparent pixels are shown on black.",)


@pytest.mark.parametrize(
    "data",
    [
        png(noise(255, 2) * [1, 0], 8, GRAY_ALPHA),
        png(noise(65535, 2) * [1, 0], 16, GRAY_ALPHA),
        png(noise(255, 4) * [1, 1, 1, 0], 8, RGB_ALPHA),
        png(noise(65535, 4) * [1, 1, 1, 0], 16, RGB_ALPHA),
        png(noise(3), 2, PALETTE, (b"PLTE", bytes(range(12))), (b"tRNS", bytes(4))),
    ],
)
def test_what_is_all_transparent_is_refused(data):
    with pytest.raises(ImageNotARadiograph, match="transparent"):
        decode(data, LIMITS)


def test_what_is_drawn_in_the_transparency_alone_is_refused():
    with pytest.raises(ImageNotARadiograph, match="same value"):
        decode(png(noise(255, 2) * [0, 1], 8, GRAY_ALPHA), LIMITS)


@pytest.mark.parametrize("palette", [[], [(b"PLTE", bytes(range(30)))]])
def test_a_pixel_without_a_colour_in_the_palette_is_refused(palette):
    with pytest.raises(ImageUndecodable, match="palette"):
        decode(png(noise(200), 8, PALETTE, *palette), LIMITS)


def test_a_png_that_does_not_begin_with_its_header_is_refused():
    data = png(noise(255), 8, GRAY)
    apples = data[:8] + png_chunk(b"CgBI", b"\x50\0\x20\x02") + data[8:]
    with pytest.raises(ImageUndecodable, match="IHDR"):
        decode(apples, LIMITS)


@pytest.mark.parametrize(("interlaced", "whole"), [(False, 73 * 40), (True, 8 * 10 * 2)])
@pytest.mark.parametrize("more", [0, 7])
def test_a_png_whose_rows_end_early_is_refused(interlaced, whole, more):
    """The stream of its pixels is sound. Pillow leaves the rest black where a row is whole."""
    data = png(noise(255), 8, GRAY, interlaced=interlaced)
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    lines = zlib.decompress(data[start + 4 : start + 4 + length])
    cut = png_chunk(b"IDAT", zlib.compress(lines[: whole + more]))
    with pytest.raises(ImageUndecodable, match="truncated" if more else "last row"):
        decode(data[: start - 4] + cut + png_chunk(b"IEND", b""), LIMITS)


def test_a_png_with_a_black_last_row_is_whole():
    values = noise(255)
    values[-1] = 0
    assert decode(png(values, 8, GRAY), LIMITS).rows == SHAPE[0]


@pytest.mark.parametrize("interlaced", [False, True])
def test_bytes_after_the_end_are_passed_over(interlaced):
    data = png(noise(255), 8, GRAY, interlaced=interlaced)
    np.testing.assert_array_equal(decode(data + b"\0junk", LIMITS).pixels, noise(255)[..., 0])
    jpeg = picture(Image.fromarray(ramp()), "JPEG")
    np.testing.assert_array_equal(
        decode(jpeg + b"\0junk", LIMITS).pixels, decode(jpeg, LIMITS).pixels
    )


def test_gamma_profile_and_significant_bits_change_nothing():
    profile = b"p\0\0" + zlib.compress(b"no profile")
    chunks = [
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"sBIT", b"\x05"),
        (b"iCCP", profile),
        (b"bKGD", b"\0\xff"),
    ]
    radiograph = decode(png(noise(255), 8, GRAY, *chunks), LIMITS)
    np.testing.assert_array_equal(radiograph.pixels, noise(255)[..., 0])


def jfif(data: bytes, unit: int, across: int, down: int) -> bytes:
    start = data.index(b"JFIF\0") + 7
    return data[:start] + struct.pack(">BHH", unit, across, down) + data[start + 5 :]


SMOOTH = picture(Image.fromarray(ramp()).resize((400, 320)), "JPEG", quality=95)


@pytest.mark.parametrize(
    ("unit", "across", "down", "shape"),
    [
        (1, 72, 72, (320, 400)),
        (1, 72, 144, (320, 800)),
        (2, 40, 20, (640, 400)),
        (0, 2, 1, (640, 400)),
        (0, 1, 1, (320, 400)),
        (1, 300, 301, (320, 400)),
        (1, 0, 0, (320, 400)),
        (1, 72, 0, (320, 400)),
    ],
)
def test_a_jpegs_pixels_are_made_square(unit, across, down, shape):
    radiograph = decode(jfif(SMOOTH, unit, across, down), LIMITS)
    assert radiograph.pixels.shape == (radiograph.rows, radiograph.columns) == shape
    assert bool(radiograph.corrections) == (shape != (320, 400))
    expected = Image.fromarray(decode(SMOOTH, LIMITS).pixels).resize(shape[::-1])
    assert np.abs(radiograph.pixels.astype(int) - np.asarray(expected)).max() <= 2


def test_the_correction_names_the_ratio():
    (said,) = decode(jfif(SMOOTH, 1, 150, 100), LIMITS).corrections
    assert said == "The pixels were made square: the file has them 1.5 times as high as wide."


def test_a_turned_jpeg_is_made_square_along_its_other_axis():
    orientation = Image.Exif()
    orientation[0x0112] = 6
    turned = picture(Image.open(io.BytesIO(SMOOTH)), "JPEG", exif=orientation, dpi=(144, 72))
    radiograph = decode(turned, LIMITS)
    assert radiograph.pixels.shape == (400, 640)


def test_a_jpeg_is_shrunk_by_the_size_of_its_square_pixels():
    spec = ImageSpec(height=64, width=64, reducing_gap=2)
    radiograph = decode(jfif(SMOOTH, 1, 72, 144), LIMITS, spec)
    assert (radiograph.rows, radiograph.columns) == (320, 800)
    assert radiograph.pixels.shape == (160, 400)


@pytest.mark.parametrize(("unit", "across", "down"), [(1, 1, 100), (0, 65535, 1)])
def test_pixels_that_are_far_too_long_are_refused(unit, across, down):
    with pytest.raises(ImageUndecodable, match="density"):
        decode(jfif(SMOOTH, unit, across, down), LIMITS)


def test_limits_hold_for_square_pixels():
    tall = picture(Image.fromarray(ramp()).resize((100, 900)), "JPEG", dpi=(144, 72))
    with pytest.raises(ImageNotARadiograph, match="as long as wide"):
        decode(tall, LIMITS)
    with pytest.raises(ImageTooLarge):
        decode(jfif(SMOOTH, 1, 9, 1), LIMITS)


def frame_header(data: bytes, **changes: int) -> bytes:
    """Changes marker, bits or components of a baseline JPEG's frame header."""
    start = data.index(b"\xff\xc0")
    changed = bytearray(data)
    for name, offset in {"marker": 1, "bits": 4, "components": 9}.items():
        changed[start + offset] = changes.get(name, data[start + offset])
    return bytes(changed)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bits": 12}, "12 bits a sample"),
        ({"marker": 0xC1, "bits": 12}, "12 bits a sample"),
        ({"marker": 0xC3}, "lossless"),
        ({"marker": 0xC3, "bits": 16}, "lossless"),
        ({"marker": 0xC5}, "hierarchical"),
        ({"marker": 0xF7}, "lossless"),
        ({"components": 2}, "2 components"),
    ],
)
def test_a_jpeg_that_is_not_read_says_why(changes, reason):
    with pytest.raises(ImageUnsupported, match=reason):
        decode(frame_header(SMOOTH, **changes), LIMITS)


CMYK = Image.merge("CMYK", [Image.fromarray(ramp(top=t)) for t in (200, 90, 10, 120)])


def adobe(data: bytes, transform: int) -> bytes:
    start = data.index(b"\xff\xee") + 15
    return data[:start] + bytes([transform]) + data[start + 1 :]


def on_paper(cyan, magenta, yellow, black):
    """Grays of inks 0…255."""
    inks = np.stack([cyan, magenta, yellow], axis=-1) / 255.0
    return 255 * (1 - inks) * (1 - black[..., None] / 255.0) @ [0.299, 0.587, 0.114]


def test_adobes_cmyk_is_read_with_its_inverted_inks():
    pixels = decode(picture(CMYK, "JPEG", quality=100), LIMITS).pixels
    expected = on_paper(*(np.asarray(ink) for ink in CMYK.split()))
    assert np.abs(pixels - expected).max() <= 2.5


def test_adobes_ycck_is_read_as_the_complement_of_its_colours():
    """Pillow stores 255 − ink; three of them are then read as luma and chroma (T.872 6.5.3)."""
    data = adobe(picture(CMYK, "JPEG", quality=100), 2)
    y, blue, red, black = (255.0 - np.asarray(ink) for ink in CMYK.split())
    stored = [
        y + 1.402 * (red - 128),
        y - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
        y + 1.772 * (blue - 128),
    ]
    inks = [colour.clip(0, 255) for colour in stored]
    expected = on_paper(*inks, 255 - black)
    assert np.abs(decode(data, LIMITS).pixels - expected).max() <= 3


def test_cmyk_without_adobes_marker_is_refused():
    data = picture(CMYK, "JPEG")
    start = data.index(b"\xff\xee")
    with pytest.raises(ImageUnsupported, match="CMYK"):
        decode(data[:start] + data[start + 16 :], LIMITS)


def test_a_jpeg_of_red_green_and_blue_is_read_as_such():
    colour = Image.merge("RGB", [Image.fromarray(ramp(top=t)) for t in (200, 90, 10)])
    pixels = decode(picture(colour, "JPEG", quality=100, keep_rgb=True), LIMITS).pixels
    assert np.abs(pixels.astype(int) - np.asarray(colour.convert("L"))).max() <= 2
