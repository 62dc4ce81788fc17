import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import (
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
)
from service.imaging.decode import ImageLimits, decode
from tests.service.imaging.conftest import (
    dicom_bytes,
    dicom_dataset,
    picture,
    png_chunk,
    png_header,
    ramp,
)

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=10**6)
GRAY = Image.fromarray(ramp())
JPEG = picture(GRAY, "JPEG")
PNG = picture(GRAY, "PNG")


def test_a_jpeg_header_over_the_limit_is_too_large():
    data = bytearray(JPEG)
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
    with pytest.raises(ImageTooLarge):
        decode(bytes(data), LIMITS)


@pytest.fixture
def no_decoder(monkeypatch):
    """Pillow and pydicom must not be asked for pixels."""
    for name in ("PIL.ImageFile.ImageFile.load", "service.imaging.dicom.pixels.pixel_array"):
        monkeypatch.setattr(name, lambda *_arguments, **_keywords: pytest.fail("it was decoded"))


@pytest.mark.usefixtures("no_decoder")
def test_a_header_over_the_limit_is_refused_without_decoding():
    with pytest.raises(ImageTooLarge, match="ECLIP_MAX_IMAGE_PIXELS"):
        decode(png_header(30_000, 30_000), ImageLimits())


STRIP = np.tile(ramp(), (1, 9))


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    "data",
    [
        png_header(400_000, 32, bits=16),
        picture(Image.fromarray(STRIP), "JPEG"),
        picture(Image.fromarray(STRIP.T), "PNG"),
        dicom_bytes(dicom_dataset(STRIP)),
    ],
)
def test_a_strip_is_no_radiograph_and_is_not_decoded(data):
    """Scaled up until its short side fits the tower, a strip takes gigabytes."""
    with pytest.raises(ImageNotARadiograph, match="10 times"):
        decode(data, ImageLimits())


PROGRESSIVE = picture(GRAY, "JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]


def test_a_progressive_jpeg_is_read():
    expected = np.asarray(Image.open(io.BytesIO(PROGRESSIVE)))
    np.testing.assert_array_equal(decode(PROGRESSIVE, LIMITS).pixels, expected)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    "data",
    [
        PROGRESSIVE[:-2] + SCAN * 100 + b"\xff\xd9",
        PROGRESSIVE[:2] + b"\xff\xfe\x00\x02" * 5000 + PROGRESSIVE[2:],
        PROGRESSIVE[:20] + bytes(70_000) + PROGRESSIVE[20:],
        PROGRESSIVE[:20] + b"\xff" * 70_000 + PROGRESSIVE[20:],
    ],
    ids=["scans", "segments", "zeros", "fill"],
)
def test_a_jpeg_that_keeps_a_decoder_busy_is_undecodable(data):
    with pytest.raises(ImageUndecodable, match="baseline JPEG"):
        decode(data, LIMITS)


def test_only_a_jpegs_own_markers_count_as_scans():
    """Metadata may hold any bytes, and restart markers stand inside a scan."""
    data = picture(GRAY, "JPEG", comment=SCAN * 200, restart_marker_blocks=1)
    np.testing.assert_array_equal(decode(data, LIMITS).pixels, decode(JPEG, LIMITS).pixels)


PROFILE = b"name\0\0" + zlib.compress(bytes(2**19))


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(
    ("kind", "content", "count"), [(b"iCCP", PROFILE, 300), (b"IDAT", b"", 70_000)]
)
def test_a_png_that_keeps_a_decoder_busy_is_undecodable(kind, content, count):
    header = len(png_header(1, 1))
    data = PNG[:header] + png_chunk(kind, content) * count + PNG[header:]
    with pytest.raises(ImageUndecodable, match="chunks"):
        decode(data, LIMITS)


def test_what_follows_a_png_does_not_count():
    assert decode(PNG + bytes(12 * 300), LIMITS).format == "png"
