import io
import struct

import gdcm
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from service.errors import ImageUndecodable, ImageUnsupported
from service.imaging import decoder_processes
from service.imaging.decode import decode
from service.imaging.dicom import codecs
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp
from tests.service.imaging.dicom.conftest import (
    LIMITS,
    close,
    compressed_by_gdcm,
    item,
    sequence,
    shown,
)
from tests.support.archive import ENCODERS, JPEG_XLS, archived, enclosed

pytestmark = pytest.mark.slow


def test_big_endian_pixels_are_read():
    dataset = dicom_dataset()
    dataset.PixelData = ramp(np.uint16, 1000).astype(">u2").tobytes()
    close(shown(dataset, syntax=ExplicitVRBigEndian), ramp(np.uint16, 1000) / 1000)


def test_bits_above_those_stored_are_ignored():
    overlaid = ramp(np.uint16, 1000) | np.uint16(0xF000)
    close(shown(dicom_dataset(overlaid, BitsStored=12, HighBit=11)), ramp(np.uint16, 1000) / 1000)


@pytest.mark.filterwarnings("ignore")
def test_compressed_frames_that_the_header_does_not_count_are_left_out():
    frame = ramp(np.uint16, 1000)
    dataset = dicom_dataset(np.stack([frame, frame[::-1]]), NumberOfFrames=2)
    dicom_bytes(dataset)
    dataset.compress(RLELossless, generate_instance_uid=False)
    del dataset.NumberOfFrames
    close(shown(dataset, syntax=RLELossless), frame / 1000)


def test_eight_bit_colour_becomes_luma():
    gray = np.repeat(ramp()[..., None], 3, axis=-1)
    dataset = dicom_dataset(
        gray,
        Rows=gray.shape[0],
        Columns=gray.shape[1],
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )
    close(shown(dataset), ramp() / 255)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_are_read(syntax):
    dataset = dicom_dataset()
    dicom_bytes(dataset)
    dataset.compress(syntax, generate_instance_uid=False)
    close(shown(dataset, syntax=syntax), ramp(np.uint16, 1000) / 1000)


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14,
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.JPEG2000Lossless,
    ],
)
def test_pixels_compressed_by_another_toolkit_are_read(syntax, tmp_path):
    data = compressed_by_gdcm(syntax, tmp_path)
    close(decode(data, LIMITS).pixels / 65535, ramp(np.uint16, 1000) / 1000)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_deeper_than_its_header_allocates_is_read_whole(syntax):
    """pydicom alone would keep the low 8 bits of each value."""
    dataset = dicom_dataset(ramp(np.uint16, 4095), BitsStored=12, HighBit=11)
    dicom_bytes(dataset)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    radiograph = decode(dicom_bytes(dataset, syntax), LIMITS)
    close(radiograph.pixels / 65535, ramp(np.uint16, 4095) / 4095)
    assert radiograph.corrections[0].startswith("BitsAllocated was taken as 16")


def test_a_codec_is_given_the_attributes_that_were_completed():
    dataset = dicom_dataset(BitsStored=12, HighBit=11)
    dicom_bytes(dataset)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    for name in ("BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"):
        delattr(dataset, name)
    close(shown(dataset, syntax=JPEGLSLossless), ramp(np.uint16, 1000) / 1000)


@pytest.mark.parametrize(
    "syntax", [syntax for syntax in ENCODERS if syntax not in JPEG_XLS], ids=lambda uid: uid.name
)
def test_a_frame_that_does_not_end_with_its_marker_is_refused_before_decoding(syntax, monkeypatch):
    monkeypatch.setattr(codecs, "decode", pytest.fail)
    monkeypatch.setattr(decoder_processes, "decode", pytest.fail)
    data = archived(syntax, ramp(np.uint16, 1000))
    end = data.rindex(b"\xff\xd9")
    with pytest.raises(ImageUndecodable, match="end marker is missing"):
        decode(data[:end] + b"\1\2" + data[end + 2 :], LIMITS)


@pytest.mark.parametrize("syntax", JPEG_XLS)
@pytest.mark.parametrize("lost", [1, 9, 40])
def test_a_jpeg_xl_frame_that_is_cut_is_refused(syntax, lost):
    """It has no end marker, but its codec knows where it ends."""
    frame = bytes(ENCODERS[syntax](ramp(), 8))
    with pytest.raises(ImageUndecodable):
        decode(enclosed(syntax, dicom_dataset(ramp()), encapsulate([frame[:-lost]])), LIMITS)


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 9, b"\xff" * 3])
def test_padding_may_follow_the_end_marker(padding):
    pixels = ramp(np.uint16, 1000)
    frame = bytes(ENCODERS[JPEGLosslessSV1](pixels, 12))
    dataset = dicom_dataset(pixels, PixelData=encapsulate([frame + padding]))
    close(shown(dataset, syntax=JPEGLosslessSV1), pixels / 1000)


def test_a_baseline_jpeg_in_a_dicom_is_read():
    file = picture(Image.fromarray(ramp()), "JPEG", quality=100)
    dataset = dicom_dataset(ramp(), PixelData=encapsulate([file]))
    expected = np.asarray(Image.open(io.BytesIO(file))).astype(float)
    low, high = expected.min(), expected.max()
    close(shown(dataset, syntax=JPEGBaseline8Bit), (expected - low) / (high - low))


@pytest.mark.parametrize("name", ["JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessProcess14"])
def test_a_frame_larger_than_its_header_is_refused_before_decoding(name, tmp_path):
    data = compressed_by_gdcm(getattr(gdcm.TransferSyntax, name), tmp_path)
    size = {"JPEG2000Lossless": ">II"}.get(name, ">HH")
    rows, columns = ramp().shape
    declared = struct.pack(size, *((columns, rows) if size == ">II" else (rows, columns)))
    with pytest.raises(ImageUndecodable, match="size"):
        decode(data.replace(declared, struct.pack(size, 60_000, 60_000), 1), LIMITS)


def test_a_frame_with_more_components_than_its_header_is_refused(tmp_path):
    data = bytearray(compressed_by_gdcm(gdcm.TransferSyntax.JPEG2000Lossless, tmp_path))
    components = data.index(b"\xff\x4f\xff\x51") + 40
    assert data[components : components + 2] == b"\x00\x01"
    data[components : components + 2] = b"\x40\x00"
    with pytest.raises(ImageUndecodable, match="size"):
        decode(bytes(data), LIMITS)


def test_a_jpeg_of_many_scans_in_a_dicom_is_refused_before_decoding():
    file = picture(Image.fromarray(ramp()), "JPEG", progressive=True)
    many = file[:-2] + file[file.rindex(b"\xff\xda") : -2] * 100 + b"\xff\xd9"
    dataset = dicom_dataset(ramp(), PixelData=encapsulate([many]))
    with pytest.raises(ImageUndecodable, match="100 scans"):
        decode(dicom_bytes(dataset, JPEGBaseline8Bit), LIMITS)


def rle(*segments: bytes) -> Dataset:
    """PS3.5 G.5: the number of segments and where each begins, then the segments."""
    starts = np.cumsum([64, *map(len, segments)])[:-1]
    header = struct.pack("<16L", len(segments), *starts, *bytes(15 - len(segments)))
    return dicom_dataset(PixelData=encapsulate([header + b"".join(segments)]))


LITERAL = b"\x00\x07\x80" + b"\x7f" + bytes(range(128))


def test_an_rle_segment_is_unpacked_no_further_than_the_image(monkeypatch):
    """A run of two bytes holds 128 (PS3.5 G.3.1); pydicom unpacks them all, and one by one."""
    monkeypatch.setattr("pydicom.pixels.decoders.rle._rle_decode_segment", pytest.fail)
    low = np.arange(ramp().size) % 129
    low = np.where(low == 0, 7, low - 1).astype(np.uint8)
    bomb = b"\x81\x00" * 100_000
    image = shown(rle(bomb, LITERAL * 20 + bomb), syntax=RLELossless)
    close(image.ravel(), low / 127)


def test_rle_runs_may_cross_rows_and_planes_keep_their_order():
    gray = np.stack([ramp(), ramp()[::-1], ramp() // 2], axis=-1)
    dataset = dicom_dataset(
        gray,
        Rows=gray.shape[0],
        Columns=gray.shape[1],
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )
    native = shown(dataset)
    dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(shown(dataset, syntax=RLELossless), native)


@pytest.mark.parametrize(
    "segments",
    [
        [LITERAL],
        [LITERAL * 20],
        [LITERAL * 20] * 3,
        [b"\x81\x00" * 20, LITERAL],
        [],
        [LITERAL * 20, b"\x81\x00" * 14 + b"\x7f\0"],
    ],
)
def test_rle_segments_that_are_short_or_of_another_number_are_undecodable(segments):
    with pytest.raises(ImageUndecodable):
        decode(dicom_bytes(rle(*segments), RLELossless), LIMITS)


def test_compressed_pixels_of_defined_length_are_undecodable():
    """PS3.5 A.4; their fragments would escape the bound on a file's steps."""
    data = dicom_bytes(rle(LITERAL * 20, LITERAL * 20), RLELossless)
    at = data.index(b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xff") + 8
    content = data[at + 4 : -8]
    with pytest.raises(ImageUndecodable):
        decode(data[:at] + struct.pack("<L", len(content)) + content, LIMITS)


def test_a_codec_is_given_just_the_frame(monkeypatch):
    given = []

    def decoded(header, frame, level):
        given.append(frame)
        return codecs.decode(header, frame, level)

    monkeypatch.setattr(decoder_processes, "decode", decoded)
    data = archived(JPEGLSLossless, ramp(np.uint16, 1000))
    decode(data + sequence(0xFFFAFFFA, item() * 10), LIMITS)
    (frame,) = given
    assert frame in data
    assert (frame[:2], frame.rstrip(b"\0")[-2:]) == (b"\xff\xd8", b"\xff\xd9")


def test_a_damaged_frame_is_undecodable_and_nothing_of_it_is_said():
    data = bytearray(archived(JPEGLSLossless, ramp(np.uint16, 1000)))
    at = data.index(b"\xff\xf7")
    data[at + 14 : at + 16] = b"\xff\xff"  # inside the header of the scan
    with pytest.raises(ImageUndecodable, match=r"damaged or truncated \(JpeglsError\)") as raised:
        decode(bytes(data), LIMITS)
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    "uid", [b"1.2.840.10008.1.2.9", b"1.2.840.10008.D^CNY", b"9.9.999.99999.9.9.9"]
)
def test_an_unknown_transfer_syntax_is_unsupported(uid):
    data = dicom_bytes(dicom_dataset()).replace(b"1.2.840.10008.1.2.1\x00", uid + b"\x00")
    with pytest.raises(ImageUnsupported, match=r"transfer syntax \(unknown\)"):
        decode(data, LIMITS)
