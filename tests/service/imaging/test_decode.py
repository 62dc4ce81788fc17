import io
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from service.bundle.preprocess import ImageSpec, preprocess
from service.errors import (
    EclipError,
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnsupported,
)
from service.imaging.decode import ImageLimits, decode
from service.imaging.radiograph import Radiograph
from tests.service.imaging.conftest import (
    dicom_bytes,
    dicom_dataset,
    picture,
    png_header,
    ramp,
)
from tests.service.imaging.pictures import TURNS

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=10**6)
COLOUR = Image.fromarray(np.stack([ramp(), ramp()[::-1], ramp() // 2], axis=-1))
GRAY = Image.fromarray(ramp())
TURNED = Image.Exif()
TURNED[0x0112] = 6
VALID = {
    "png": picture(GRAY, "PNG"),
    "deep png": picture(Image.fromarray(ramp(np.uint16, 4095)), "PNG"),
    "jpeg": picture(GRAY, "JPEG"),
    "turned jpeg": picture(GRAY, "JPEG", exif=TURNED),
    "two pictures in one jpeg": picture(COLOUR, "MPO", save_all=True, append_images=[COLOUR]),
    "dicom": dicom_bytes(dicom_dataset()),
    "headless dicom": dicom_bytes(dicom_dataset(), headless=True),
}


NOISE = np.random.default_rng(0).integers(0, 65536, (64, 64)).astype(np.uint16)
NOISY = {
    "png": picture(Image.fromarray(NOISE.astype(np.uint8)), "PNG"),
    "jpeg": picture(Image.fromarray(NOISE.astype(np.uint8)), "JPEG"),
    "deep png": picture(Image.fromarray(NOISE), "PNG"),
}


@pytest.mark.parametrize(
    ("image", "format"),
    [
        (GRAY, "PNG"),
        (GRAY, "JPEG"),
        (COLOUR, "PNG"),
        (COLOUR, "JPEG"),
        (COLOUR.convert("CMYK"), "JPEG"),
        (COLOUR.convert("P"), "PNG"),
        (COLOUR.convert("RGBA"), "PNG"),
        (GRAY.convert("LA"), "PNG"),
        (GRAY.convert("1"), "PNG"),
    ],
)
def test_eight_bit_pictures_become_pillows_luma(image, format):
    data = picture(image, format)
    radiograph = decode(data, LIMITS)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    np.testing.assert_array_equal(radiograph.pixels, expected)
    assert radiograph.pixels.dtype == np.uint8
    assert radiograph.format == format.lower()
    assert not radiograph.pixels.flags.writeable


def test_sixteen_bit_png_is_stretched_over_its_own_values():
    radiograph = decode(VALID["deep png"], LIMITS)
    expected = np.rint(ramp(np.uint16, 4095) * (65535 / 4095))
    np.testing.assert_array_equal(radiograph.pixels, expected)
    assert (radiograph.window.low, radiograph.window.high) == (0, 4095)
    assert radiograph.window.source == "value-range"


@pytest.mark.parametrize("orientation", TURNS)
def test_a_jpegs_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = decode(picture(GRAY, "JPEG", exif=exif), LIMITS)
    upright = decode(VALID["jpeg"], LIMITS)
    np.testing.assert_array_equal(turned.pixels, TURNS[orientation](upright.pixels))


def test_metadata_that_breaks_pillow_gives_a_typed_error(monkeypatch):
    def fail(*_arguments, **_keywords):
        raise TypeError("Doe-Canary")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    with pytest.raises(ImageUndecodable, match="TypeError") as raised:
        decode(VALID["jpeg"], LIMITS)
    assert raised.value.__context__ is None


def test_a_name_in_a_jpegs_metadata_is_never_logged(caplog):
    exif = Image.Exif()
    exif[0x010E] = "Doe-Canary"
    exif[0x0112] = 6
    data = picture(GRAY, "JPEG", exif=exif, comment=b"Doe-Canary")
    with caplog.at_level(logging.DEBUG):
        radiograph = decode(data, LIMITS)
    assert "Doe-Canary" not in caplog.text + repr(radiograph)


@pytest.mark.parametrize("kind", ["png", "jpeg", "deep png"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_undecodable_and_never_padded(kind, share):
    data = NOISY[kind]
    with pytest.raises(ImageUndecodable, match="truncated"):
        decode(data[: int(len(data) * share)], LIMITS)


LARGE = Image.fromarray(ramp()).resize((800, 600))
EXACT = ImageSpec(height=64, width=64)


@pytest.mark.parametrize(
    ("gap", "shrunk"),
    [(None, (600, 800)), (6, (600, 800)), (4, (300, 400)), (2, (150, 200)), (1, (75, 100))],
)
@pytest.mark.parametrize("picture_mode", ["L", "RGB"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_jpeg_is_decoded_no_larger_than_the_bundle_needs(gap, shrunk, picture_mode, turned):
    exif = TURNED if turned else Image.Exif()
    data = picture(LARGE.convert(picture_mode), "JPEG", quality=95, exif=exif)
    spec = ImageSpec(height=64, width=64, reducing_gap=gap)
    whole, small = decode(data, LIMITS), decode(data, LIMITS, spec)
    assert small.pixels.shape == (shrunk[::-1] if turned else shrunk)
    assert (small.rows, small.columns) == (whole.rows, whole.columns) == whole.pixels.shape
    levels, exact = preprocess(small.pixels, spec), preprocess(whole.pixels, EXACT)
    assert np.abs(levels.astype(int) - exact).max() <= 4


@pytest.mark.parametrize("shape", [(603, 801), (600, 797)])
def test_a_smaller_jpeg_lies_where_the_image_does(shape):
    """Its last pixels stand for a part of a block. The waves are steep."""
    y, x = np.indices(shape)
    waves = 128 + 60 * np.sin(x / 23) + 60 * np.sin(y / 19)
    data = picture(Image.fromarray(waves.astype(np.uint8)), "JPEG", quality=98)
    spec = EXACT.model_copy(update={"reducing_gap": 1.0})
    small, whole = decode(data, LIMITS, spec), decode(data, LIMITS)
    assert small.pixels.shape == tuple(-(-side // 8) for side in shape)
    assert np.abs(small.prepared(spec).astype(int) - whole.prepared(EXACT)).max() <= 9


@pytest.mark.parametrize("kind", ["png", "deep png"])
def test_what_cannot_be_decoded_in_part_is_decoded_whole(kind):
    spec = ImageSpec(height=16, width=16, reducing_gap=1)
    whole = decode(VALID[kind], LIMITS)
    np.testing.assert_array_equal(decode(VALID[kind], LIMITS, spec).pixels, whole.pixels)


def test_a_jpeg_that_is_cut_short_is_refused_at_any_size():
    data = picture(LARGE, "JPEG")
    spec = ImageSpec(height=64, width=64, reducing_gap=1)
    with pytest.raises(ImageUndecodable, match="truncated"):
        decode(data[: len(data) // 2], LIMITS, spec)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ImageUndecodable),
        (b"a text renamed .png", ImageUnsupported),
        (b"\x08\x00 a report that begins oddly", ImageUnsupported),
        (b"\xff\xd8\xff", ImageUndecodable),
        (b"\x89PNG\r\n\x1a\n", ImageUndecodable),
        (VALID["two pictures in one jpeg"], ImageUnsupported),
        (b"GIF89a" + bytes(100), ImageUnsupported),
        (png_header(30_000, 30_000) + bytes(50), ImageTooLarge),
        (bytes(2**20 + 1), ImageTooLarge),
        (dicom_bytes(dicom_dataset(Rows=30_000, Columns=30_000)), ImageTooLarge),
        (
            picture(GRAY, "PNG", save_all=True, append_images=[COLOUR.convert("L")]),
            ImageUnsupported,
        ),
        (picture(Image.new("L", (64, 64), 7), "PNG"), ImageNotARadiograph),
        (picture(GRAY.resize((64, 20)), "PNG"), ImageNotARadiograph),
    ],
)
def test_each_kind_of_unusable_file_has_its_own_error(data, error):
    with pytest.raises(error) as raised:
        decode(data, LIMITS)
    assert type(raised.value) is error


@given(st.binary(max_size=600))
@settings(max_examples=200)
def test_arbitrary_bytes_give_a_typed_error(data):
    with pytest.raises(EclipError):
        decode(data, LIMITS)


@pytest.mark.filterwarnings("ignore")
@given(st.data())
@settings(max_examples=150)
def test_a_truncated_file_gives_a_radiograph_or_a_typed_error(data):
    whole = VALID[data.draw(st.sampled_from(sorted(VALID)))]
    with suppress(EclipError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))], LIMITS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@given(st.data())
@settings(max_examples=400)
def test_a_damaged_file_gives_a_radiograph_or_a_typed_error(data):
    damaged = bytearray(VALID[data.draw(st.sampled_from(sorted(VALID)))])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, min(len(damaged) - 1, 600)))] = data.draw(
            st.integers(0, 255)
        )
    with suppress(EclipError):
        assert isinstance(decode(bytes(damaged), LIMITS), Radiograph)


def test_decoding_in_threads_equals_decoding_in_a_row():
    compressed = dicom_dataset()
    dicom_bytes(compressed)
    compressed.compress(JPEG2000Lossless, generate_instance_uid=False)
    files = [data for name, data in VALID.items() if name != "two pictures in one jpeg"]
    files = [*files, dicom_bytes(compressed, JPEG2000Lossless)] * 8
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, LIMITS).pixels, files))
    for data, pixels in zip(files, together, strict=True):
        np.testing.assert_array_equal(pixels, decode(data, LIMITS).pixels)
