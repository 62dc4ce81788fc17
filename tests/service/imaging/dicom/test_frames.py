"""Frames are put together from fragments however a writer cut them (PS3.5 A.4)."""

import struct

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, encapsulate_extended

from service.errors import ImageUndecodable, ImageUnsupported
from service.imaging.decode import decode
from service.imaging.dicom import jpeg2000, jpegxl
from service.imaging.dicom.frames import read_header
from tests.service.imaging.conftest import dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, chest, close, item
from tests.support.archive import ENCODERS, enclosed

PIXELS = chest(4095)
SYNTAX = uid.JPEGLosslessSV1
FRAME = bytes(ENCODERS[SYNTAX](PIXELS, 12))
OTHER = bytes(ENCODERS[SYNTAX](PIXELS[::-1].copy(), 12))
DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def dataset(**elements):
    return dicom_dataset(PIXELS, BitsStored=12, HighBit=11, **elements)


def read(value: bytes, **elements) -> np.ndarray:
    return decode(enclosed(SYNTAX, dataset(**elements), value), LIMITS).pixels / 65535


@pytest.mark.parametrize("fragments", [1, 2, 7])
@pytest.mark.parametrize("table", [True, False], ids=["offset table", "no offset table"])
@pytest.mark.parametrize("frames", [{}, {"NumberOfFrames": 1}], ids=["uncounted", "one frame"])
def test_fragments_are_put_together(fragments, table, frames):
    value = encapsulate([FRAME], fragments_per_frame=fragments, has_bot=table)
    close(read(value, **frames), PIXELS / 4095)


@pytest.mark.parametrize("fragments", [1, 3])
def test_of_several_frames_the_table_finds_the_first(fragments):
    value = encapsulate([FRAME, OTHER], fragments_per_frame=fragments)
    close(read(value), PIXELS / 4095)


def test_an_extended_offset_table_is_no_obstacle():
    value, offsets, lengths = encapsulate_extended([FRAME])
    got = read(value, ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=lengths)
    close(got, PIXELS / 4095)


def test_a_frame_and_a_fragment_of_odd_length_are_read():
    """PS3.5 A.4 wants even lengths; some writers have cut frames where they liked."""
    frame = FRAME.rstrip(b"\0")
    cut = len(frame) // 2 | 1
    value = item() + item(frame[:cut]) + item(frame[cut:])
    close(read(value), PIXELS / 4095)


def test_a_multi_frame_class_with_one_frame_is_read():
    got = read(
        encapsulate([FRAME]),
        SOPClassUID=uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        Modality="DX",
        NumberOfFrames=1,
    )
    close(got, PIXELS / 4095)


def test_a_file_that_ends_without_the_delimiter_is_refused():
    """pydicom finds no end, so the file may have lost anything."""
    data = enclosed(SYNTAX, dataset(), encapsulate([FRAME]))
    assert data.endswith(DELIMITER)
    with pytest.raises((ImageUndecodable, ImageUnsupported)):
        decode(data[: -len(DELIMITER)], LIMITS)


SIDES = [1, 8, 9, 64, 248, 256, 257, 512, 513, 1000, 3072, 8193]


@pytest.mark.parametrize("container", [True, False], ids=["boxes", "codestream"])
@pytest.mark.parametrize("rows", SIDES)
def test_the_header_of_jpeg_xl_is_read(rows, container):
    for columns in {rows, 1, 7, 40, 64, 6 * rows // 5, 4 * rows // 3, 2 * rows} - {0}:
        pixels = np.zeros((rows, columns), np.uint16)
        frame = imagecodecs.jpegxl_encode(
            pixels, lossless=True, effort=1, bitspersample=12, usecontainer=container
        )
        found = jpegxl.header(bytes(frame))
        assert (found.rows, found.columns, found.samples, found.depth) == (rows, columns, 1, 12)


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 10, 12, 13, 16])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("samples", [1, 3])
def test_the_depth_and_the_samples_of_jpeg_xl_are_read(bits, lossless, samples):
    pixels = np.zeros((16, 24, samples), np.uint8 if bits <= 8 else np.uint16)
    frame = imagecodecs.jpegxl_encode(
        pixels if samples == 3 else pixels[..., 0],
        bitspersample=bits,
        effort=1,
        **({"lossless": True} if lossless else {"distance": 1.0}),
    )
    found = jpegxl.header(bytes(frame))
    assert (found.rows, found.columns, found.samples, found.depth) == (16, 24, samples, bits)


def jpeg_xl(pixels: np.ndarray, **options) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, **options))


@pytest.mark.parametrize(
    "frame",
    [
        jpeg_xl(np.zeros((16, 24), np.float32)),
        jpeg_xl(np.zeros((16, 24, 4), np.uint8)),
        jpeg_xl(np.zeros((3, 16, 24), np.uint8), photometric="gray"),
        b"",
        b"\xff\x0a",
        b"\xff\x0a\x01",
        jpeg_xl(np.zeros((16, 24), np.uint8), usecontainer=True)[:36],
        struct.pack(">L4s", 1, b"jxlc"),
        FRAME,
    ],
    ids=["float", "alpha", "animation", "empty", "marker", "cut", "no box", "no length", "JPEG"],
)
def test_a_jpeg_xl_of_another_kind_is_no_frame(frame):
    with pytest.raises((ValueError, struct.error)):
        jpegxl.header(frame)


@pytest.mark.parametrize("boxed", [False, True], ids=["codestream", "boxes"])
def test_the_header_of_jpeg_2000_is_read(boxed):
    frame = imagecodecs.jpeg2k_encode(
        np.zeros((100, 70), np.int16),
        codecformat="JP2" if boxed else "J2K",
        reversible=True,
        bitspersample=12,
    )
    found = jpeg2000.header("jpeg-2000", bytes(frame))
    assert (found.rows, found.columns, found.samples) == (100, 70, 1)
    assert (found.depth, found.signed, found.levels > 2) == (12, True, True)


def test_a_jpeg_2000_frame_without_its_coding_style_is_damaged():
    frame = bytes(ENCODERS[uid.JPEG2000Lossless](PIXELS, 12))
    with pytest.raises(ValueError, match="coding style"):
        jpeg2000.header("jpeg-2000", frame.replace(b"\xff\x52", b"\xff\x53", 1)[:150] + b"\0" * 9)


def test_rle_takes_its_size_from_the_dataset():
    found = read_header("rle", dataset(), b"")
    assert (found.rows, found.columns, found.samples, found.depth) == (*PIXELS.shape, 1, 16)
