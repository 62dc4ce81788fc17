import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import (
    EclipError,
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnsupported,
)
from service.imaging.decode import ImageLimits, decode
from service.imaging.radiograph import Radiograph
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=10**6)
COLOUR = Image.fromarray(np.stack([ramp(), ramp()[::-1], ramp() // 2], axis=-1))
GRAY = Image.fromarray(ramp())
VALID = {
    "png": picture(GRAY, "PNG"),
    "deep png": picture(Image.fromarray(ramp(np.uint16, 4095)), "PNG"),
    "jpeg": picture(GRAY, "JPEG"),
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


def test_a_jpegs_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(picture(GRAY, "JPEG", exif=exif), LIMITS)
    assert (turned.rows, turned.columns) == GRAY.size


@pytest.mark.parametrize("kind", ["png", "jpeg", "deep png"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_undecodable_and_never_padded(kind, share):
    data = NOISY[kind]
    with pytest.raises(ImageUndecodable, match="truncated"):
        decode(data[: int(len(data) * share)], LIMITS)


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    checksum = zlib.crc32(b"IHDR" + header)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", checksum)
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ImageUndecodable),
        (b"a text renamed .png", ImageUnsupported),
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
def test_what_is_no_radiograph_gets_its_own_error(data, error):
    with pytest.raises(error) as raised:
        decode(data, LIMITS)
    assert type(raised.value) is error


@given(st.binary(max_size=600))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_give_a_typed_error(data):
    with pytest.raises(EclipError):
        decode(data, LIMITS)


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_a_damaged_file_gives_a_radiograph_or_a_typed_error(data):
    damaged = bytearray(VALID[data.draw(st.sampled_from(sorted(VALID)))])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, min(len(damaged) - 1, 600)))] = data.draw(
            st.integers(0, 255)
        )
    with suppress(EclipError):
        assert isinstance(decode(bytes(damaged), LIMITS), Radiograph)


def test_decoding_in_threads_equals_decoding_in_a_row():
    files = list(VALID.values()) * 8
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, LIMITS).pixels, files))
    for data, pixels in zip(files, together, strict=True):
        np.testing.assert_array_equal(pixels, decode(data, LIMITS).pixels)
