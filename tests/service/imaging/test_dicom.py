import io
import logging
import struct
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import gdcm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from service.errors import (
    EclipError,
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnsupported,
)
from service.imaging.decode import ImageLimits, decode
from service.imaging.radiograph import Radiograph, Window
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp

LIMITS = ImageLimits()
CANARY = "Doe-Canary"


def shown(dataset: Dataset, **arguments) -> np.ndarray:
    """Display values 0…1."""
    return decode(dicom_bytes(dataset, **arguments), LIMITS).pixels / 65535


def close(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_without_a_window_the_stored_range_is_shown():
    close(shown(dicom_dataset()), ramp(np.uint16, 1000) / 1000)


def test_monochrome1_is_turned_over():
    dataset = dicom_dataset(PhotometricInterpretation="MONOCHROME1")
    close(shown(dataset), 1 - ramp(np.uint16, 1000) / 1000)
    assert decode(dicom_bytes(dataset), LIMITS).inverted


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
@pytest.mark.parametrize("padded", [False, True])
def test_every_pixel_is_shown_as_its_value_is_at_any_depth(dtype, padded):
    kind = np.iinfo(dtype)
    top = min(kind.max, 2**24)
    pixels = np.random.default_rng(0).integers(max(kind.min, -top), top, (40, 50)).astype(dtype)
    padding = {"PixelPaddingValue": int(pixels[3, 4])} if padded and top < 2**16 else {}
    seen = pixels != pixels[3, 4] if padding else np.ones_like(pixels, bool)
    low, high = float(pixels[seen].min()), float(pixels[seen].max())
    expected = np.where(seen, (pixels.astype(float) - low) / (high - low), 0)
    close(shown(dicom_dataset(pixels, **padding)), expected)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", lambda x: np.clip((x - 499.5) / 199 + 0.5, 0, 1)),
        ("LINEAR_EXACT", lambda x: np.clip((x - 500) / 200 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 500) / 200))),
    ],
)
def test_windows_follow_the_standards_formulas(function, expected):
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    dataset = dicom_dataset(WindowCenter=500, WindowWidth=200, VOILUTFunction=function)
    close(shown(dataset), expected(ramp(np.uint16, 1000).astype(float)))


def test_the_first_of_several_windows_is_used():
    several = dicom_dataset(WindowCenter=[500, 10], WindowWidth=[200, 5])
    close(shown(several), shown(dicom_dataset(WindowCenter=500, WindowWidth=200)))


@pytest.mark.parametrize(
    ("function", "width"),
    [("LINEAR", 1), ("LINEAR", 0), ("LINEAR", -5), ("LINEAR_EXACT", 0), ("SIGMOID", 0)],
)
def test_a_window_without_grays_falls_back_to_the_values(function, width):
    dataset = dicom_dataset(WindowCenter=5, WindowWidth=width, VOILUTFunction=function)
    assert decode(dicom_bytes(dataset), LIMITS).window.source == "value-range"


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_a_narrow_window_over_fine_values_is_used(function):
    """Rescaled to 0…1, a width under 1 is what the standard allows these two functions."""
    fine = {"RescaleSlope": "0.001", "RescaleIntercept": 0}
    window = {"WindowCenter": "0.5", "WindowWidth": "0.2", "VOILUTFunction": function}
    coarse = dicom_dataset(WindowCenter=500, WindowWidth=200, VOILUTFunction=function)
    close(shown(dicom_dataset(**fine, **window)), shown(coarse))


@pytest.mark.parametrize("function", ["", "FANCY"])
def test_an_unknown_window_function_is_linear(function):
    window = {"WindowCenter": 500, "WindowWidth": 200}
    close(shown(dicom_dataset(**window, VOILUTFunction=function)), shown(dicom_dataset(**window)))


@pytest.mark.parametrize("number", [b"abc ", b"nan ", b"inf ", b"    ", b"1\\x "])
def test_a_malformed_window_is_as_none(number):
    data = dicom_bytes(dicom_dataset(WindowCenter="7777", WindowWidth="200"))
    radiograph = decode(data.replace(b"7777", number), LIMITS)
    assert radiograph.window.source == "value-range"


@pytest.mark.parametrize("number", [b"abc ", b"nan ", b"inf ", b"1\\2 "])
def test_a_malformed_rescale_is_undecodable(number):
    data = dicom_bytes(dicom_dataset(RescaleSlope="7777", RescaleIntercept=0))
    with pytest.raises(ImageUndecodable):
        decode(data.replace(b"7777", number), LIMITS)


def lut(entries: int, first: int, bits: int, data: bytes) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [entries, first, bits]
    item.LUTData = data
    return Sequence([item])


FALLING = np.arange(1000, -1, -1)


@pytest.mark.parametrize(
    ("bits", "table"),
    [
        (16, (FALLING * 65).astype("<u2")),
        (12, (FALLING * 4).astype("<u2")),
        (8, (FALLING // 4).astype("<u2")),
        (8, (FALLING // 4).astype("u1")),
    ],
)
def test_a_voi_lut_is_applied(bits, table):
    """PS3.3 C.11.2.1.1; entries of 8 bits may be kept in bytes or words."""
    data = table.tobytes() + bytes(table.nbytes % 2)
    dataset = dicom_dataset(VOILUTSequence=lut(1001, 0, bits, data))
    radiograph = decode(dicom_bytes(dataset), LIMITS)
    close(radiograph.pixels / 65535, table[ramp(np.uint16, 1000)] / (2**bits - 1))
    assert radiograph.window == Window(0, 1000, "voi-lut")


def test_a_voi_lut_over_rescaled_values_may_begin_below_zero():
    table = (np.arange(1001) * 65).astype("<u2")
    dataset = dicom_dataset(
        RescaleSlope=1,
        RescaleIntercept=-500,
        VOILUTSequence=lut(1001, 2**16 - 500, 16, table.tobytes()),
    )
    close(shown(dataset), table[ramp(np.uint16, 1000)] / 65535)


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_lut_over_signed_pixels_may_begin_below_zero_where_no_pixel_is(keyword):
    """Explicit VR may give the first value as US (PS3.3 C.11.1.1.1, C.11.2.1.1)."""
    table = (np.arange(2025) * 2).astype("<u2")
    item = lut(2025, 0, 12, table.tobytes())
    item[0].add_new("LUTDescriptor", "US", [2025, 2**16 - 1024, 12])
    dataset = dicom_dataset(
        ramp(np.int16, 1000),
        **{keyword: item},
        WindowCenter=2048,
        WindowWidth=4096,
        VOILUTFunction="LINEAR_EXACT",
    )
    expected = table[ramp(np.uint16, 1000) + 1024]
    close(shown(dataset), expected / (4096 if keyword == "ModalityLUTSequence" else 4095))


def test_a_voi_lut_over_a_modality_lut_begins_high_where_it_says_so():
    """The output of a modality LUT is never negative."""
    levels = (np.arange(1001) + 40_000).astype("<u2")
    table = (np.arange(1001) * 65).astype("<u2")
    dataset = dicom_dataset(
        ramp(np.int16, 1000),
        ModalityLUTSequence=lut(1001, 0, 16, levels.tobytes()),
        VOILUTSequence=lut(1001, 0, 16, table.tobytes()),
    )
    dataset.VOILUTSequence[0].add_new("LUTDescriptor", "US", [1001, 40_000, 16])
    close(shown(dataset), table[ramp(np.uint16, 1000)] / 65535)


def test_a_voi_lut_of_all_sixteen_bits_declares_no_entries():
    table = np.arange(65535, -1, -1).astype("<u2")
    dataset = dicom_dataset(ramp(np.uint16, 65535), VOILUTSequence=lut(0, 0, 16, table.tobytes()))
    close(shown(dataset), 1 - ramp(np.uint16, 65535) / 65535)


@pytest.mark.parametrize("items", [[], [Dataset()]])
def test_an_empty_voi_lut_leaves_the_window(items):
    window = {"WindowCenter": 500, "WindowWidth": 200}
    dataset = dicom_dataset(**window, VOILUTSequence=Sequence(items))
    close(shown(dataset), shown(dicom_dataset(**window)))


def test_a_lut_shorter_than_it_says_is_undecodable():
    with pytest.raises(ImageUndecodable):
        decode(dicom_bytes(dicom_dataset(VOILUTSequence=lut(1001, 0, 16, bytes(20)))), LIMITS)


def test_a_modality_lut_comes_before_the_window():
    table = (FALLING * 2).astype("<u2")
    dataset = dicom_dataset(
        ModalityLUTSequence=lut(1001, 0, 12, table.tobytes()),
        WindowCenter=1000,
        WindowWidth=2000,
        VOILUTFunction="LINEAR_EXACT",
    )
    close(shown(dataset), table[ramp(np.uint16, 1000)] / 2000)


def test_the_presentation_shape_may_turn_the_image_over():
    assert decode(dicom_bytes(dicom_dataset(PresentationLUTShape="INVERSE")), LIMITS).inverted
    twice = dicom_dataset(PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1")
    close(shown(twice), 1 - ramp(np.uint16, 1000) / 1000)


def test_big_endian_pixels_are_read():
    dataset = dicom_dataset()
    dataset.PixelData = ramp(np.uint16, 1000).astype(">u2").tobytes()
    close(shown(dataset, syntax=ExplicitVRBigEndian), ramp(np.uint16, 1000) / 1000)


def test_bits_above_those_stored_are_ignored():
    overlaid = ramp(np.uint16, 1000) | np.uint16(0xF000)
    close(shown(dicom_dataset(overlaid, BitsStored=12, HighBit=11)), ramp(np.uint16, 1000) / 1000)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_frames_that_the_header_does_not_count_are_left_out(syntax):
    frame = ramp(np.uint16, 1000)
    dataset = dicom_dataset(np.stack([frame, frame[::-1]]), NumberOfFrames=2)
    dicom_bytes(dataset)
    if syntax == RLELossless:
        dataset.compress(syntax, generate_instance_uid=False)
    del dataset.NumberOfFrames
    close(shown(dataset, syntax=syntax), frame / 1000)


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


def test_rescale_comes_before_the_window():
    dataset = dicom_dataset(
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=900,
        WindowWidth=400,
        VOILUTFunction="LINEAR_EXACT",
    )
    close(shown(dataset), np.clip((ramp(np.uint16, 1000) * 2.0 - 100 - 900) / 400 + 0.5, 0, 1))


def test_signed_pixels_keep_their_order():
    signed = ramp(np.int16, 1000) - np.int16(500)
    close(shown(dicom_dataset(signed)), ramp(np.uint16, 1000) / 1000)


def test_padding_is_black_and_does_not_set_the_range():
    pixels = ramp(np.uint16, 1000)
    pixels[:4] = 60_000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        dataset = dicom_dataset(
            pixels, PixelPaddingValue=60_000, PhotometricInterpretation=photometric
        )
        image = shown(dataset)
        assert image[:4].max() == 0
        assert image[4:].max() == pytest.approx(1)


@pytest.mark.parametrize(
    ("vr", "value", "limit", "dtype", "padding"),
    [
        ("US", 2**16 - 2000, 2**16 - 1000, np.int16, -1500),
        ("SS", -2000, -1000, np.int16, -1500),
        ("SS", -2000, -1000, np.uint16, 2**16 - 1500),
    ],
)
def test_padding_is_signed_where_the_pixels_are(vr, value, limit, dtype, padding):
    """PS3.3 C.7.5.1.1.2, whatever VR the header gives it."""
    pixels = ramp(dtype, 1000)
    pixels[:4] = padding
    dataset = dicom_dataset(pixels)
    dataset.add_new("PixelPaddingValue", vr, value)
    dataset.add_new("PixelPaddingRangeLimit", vr, limit)
    image, exposed = shown(dataset), ramp(np.uint16, 1000)[4:].astype(float)
    assert image[:4].max() == 0
    close(image[4:], (exposed - exposed.min()) / (1000 - exposed.min()))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_files_without_preamble_are_read(syntax):
    headless = dicom_bytes(dicom_dataset(), syntax, headless=True)
    assert headless[128:132] != b"DICM"
    close(decode(headless, LIMITS).pixels / 65535, ramp(np.uint16, 1000) / 1000)


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


def test_a_twelve_bit_jpeg_is_unsupported(tmp_path):
    data = compressed_by_gdcm(gdcm.TransferSyntax.JPEGExtendedProcess2_4, tmp_path)
    with pytest.raises(ImageUnsupported, match="JPEG Extended"):
        decode(data, LIMITS)


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


def element(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    """One element in explicit VR little endian with a length of 32 bits (PS3.5 7.1.2)."""
    length = len(value) if length is None else length
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length) + value


def item(value: bytes = b"") -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def sequence(tag: int, items: bytes) -> bytes:
    """Of undefined length (PS3.5 7.5.1)."""
    return element(tag, b"SQ", items + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)


CHARACTER_SETS = element(0x00080005, b"UT", b"X\\" * 2**19)


@pytest.mark.parametrize(
    "first",
    [
        sequence(0x00080006, item() * 60_000),
        sequence(0x00080006, item(element(0x00090010, b"UT")) * 60_000),
        sequence(0x00080006, item(CHARACTER_SETS) * 2),
        b"".join(element(0x00090000 + number % 2**16, b"UT") for number in range(60_000)),
        CHARACTER_SETS,
        element(0x00281050, b"UT", b"1\\" * 600),
        element(0x00283010, b"SQ", item() * 70_000),
    ],
    ids=["items", "elements in items", "sets in items", "elements", "sets", "value", "LUTs"],
)
def test_a_header_that_keeps_the_reader_busy_is_undecodable(first):
    data = dicom_bytes(dicom_dataset())
    start = data.index(b"\x08\x00\x16\x00UI")
    with pytest.raises(ImageUndecodable):
        decode(data[:start] + first + data[start:], LIMITS)


@pytest.mark.parametrize(
    "extra",
    [
        element(0x00090010, b"UN", bytes(2**22)),
        sequence(0x00080006, item(element(0x00090010, b"UN", bytes(2**19)))),
    ],
)
def test_large_elements_that_no_radiograph_needs_are_passed_over(extra):
    data = dicom_bytes(dicom_dataset())
    start = data.index(b"\x08\x00\x16\x00UI")
    close(
        decode(data[:start] + extra + data[start:], LIMITS).pixels / 65535,
        ramp(np.uint16, 1000) / 1000,
    )


def test_what_follows_the_pixels_is_not_read():
    data = dicom_bytes(dicom_dataset()) + sequence(0xFFFAFFFA, item() * 300_000)
    close(decode(data, LIMITS).pixels / 65535, ramp(np.uint16, 1000) / 1000)


def test_gdcm_is_given_nothing_that_follows_the_pixels(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "service.imaging.dicom._decode_apart", lambda data: given.append(data) or ramp()
    )
    data = compressed_by_gdcm(gdcm.TransferSyntax.JPEGLSLossless, tmp_path)
    decode(data + sequence(0xFFFAFFFA, item() * 10), LIMITS)
    assert given == [data]


def test_a_frame_that_ends_gdcms_process_is_undecodable(tmp_path, monkeypatch):
    """gdcm calls std::terminate on some damaged frames; the service must outlive that."""
    abort = tmp_path / "abort.py"
    abort.write_text("import os; os.abort()")
    monkeypatch.setattr("service.imaging.dicom._GDCM", abort)
    data = compressed_by_gdcm(gdcm.TransferSyntax.JPEGLSLossless, tmp_path)
    with pytest.raises(ImageUndecodable, match="CalledProcessError"):
        decode(data, LIMITS)


def compressed_by_gdcm(syntax: int, folder: Path) -> bytes:
    path = folder / "radiograph.dcm"
    path.write_bytes(dicom_bytes(dicom_dataset(BitsStored=12, HighBit=11)))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path.read_bytes()


@pytest.mark.parametrize(
    "uid", [b"1.2.840.10008.1.2.9", b"1.2.840.10008.D^CNY", b"9.9.999.99999.9.9.9"]
)
def test_an_unknown_transfer_syntax_is_unsupported(uid):
    data = dicom_bytes(dicom_dataset()).replace(b"1.2.840.10008.1.2.1\x00", uid + b"\x00")
    with pytest.raises(ImageUnsupported, match=r"transfer syntax \(unknown\)"):
        decode(data, LIMITS)


def test_a_deflated_object_is_refused_without_inflating_it():
    data = dicom_bytes(dicom_dataset(), DeflatedExplicitVRLittleEndian)
    with pytest.raises(ImageUnsupported, match="Deflated"):
        decode(data, LIMITS)


@pytest.mark.parametrize(
    ("elements", "error"),
    [
        ({"Modality": "CT"}, ImageNotARadiograph),
        ({"NumberOfFrames": 2}, ImageUnsupported),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ImageUnsupported),
        ({"PhotometricInterpretation": "SOMETHING"}, ImageUndecodable),
        ({"Rows": 60_000, "Columns": 60_000}, ImageTooLarge),
        ({"Rows": 0}, ImageUndecodable),
        ({"PixelData": bytes(10)}, ImageUndecodable),
        ({"Rows": 400}, ImageUndecodable),
        ({"BitsAllocated": 13}, ImageUndecodable),
    ],
)
def test_what_cannot_be_shown_gets_its_own_error(elements, error):
    with pytest.raises(error):
        decode(dicom_bytes(dicom_dataset(**elements)), LIMITS)


def test_an_object_without_pixels_is_unsupported():
    dataset = dicom_dataset()
    del dataset.PixelData
    with pytest.raises(ImageUnsupported, match="no pixel data"):
        decode(dicom_bytes(dataset), LIMITS)


def test_view_and_spacing_come_from_the_header():
    dataset = dicom_dataset(ViewPosition="PA", ImagerPixelSpacing=[0.15, 0.2])
    radiograph = decode(dicom_bytes(dataset), LIMITS)
    assert radiograph.view == "PA"
    assert radiograph.spacing_mm == (0.15, 0.2)
    assert radiograph.provenance["Modality"] == "CR"


@pytest.mark.parametrize("spacing", [[0, 0], [-1, 1], 0.2, [0.1, 0.2, 0.3]])
def test_a_spacing_that_cannot_be_is_left_out(spacing):
    radiograph = decode(dicom_bytes(dicom_dataset(ImagerPixelSpacing=spacing)), LIMITS)
    assert radiograph.spacing_mm is None


IDENTIFYING = [
    "PatientName", "PatientID", "PatientBirthDate", "PatientAddress", "AccessionNumber",
    "InstitutionName", "ReferringPhysicianName", "StudyDescription", "SeriesDescription",
    "OperatorsName", "ImageComments", "StudyID", "DeviceSerialNumber", "ViewPosition",
    "Manufacturer", "ProtocolName", "BodyPartExamined",
]  # fmt: skip


@pytest.mark.parametrize("elements", [{}, {"Modality": "CT"}, {"Rows": 4000}, {"BitsStored": 99}])
def test_no_patient_identifier_leaves_the_decoder(elements, caplog):
    dataset = dicom_dataset(**elements)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for keyword in IDENTIFYING:
            setattr(dataset, keyword, CANARY)
        data = dicom_bytes(dataset)
    assert CANARY.encode() in data
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        try:
            seen = repr(decode(data, LIMITS))
        except EclipError as error:
            seen = f"{error!r} {error.__cause__!r} {error.__context__!r}"
    said = " ".join([seen, caplog.text, *(str(w.message) for w in warned)])
    assert CANARY.lower() not in said.lower()


def test_a_name_in_the_character_set_reaches_no_stream():
    """pydicom warns of an unknown character set by quoting it; a fresh process has our filter."""
    data = dicom_bytes(dicom_dataset(SpecificCharacterSet="ISO_IR 100")).replace(
        b"ISO_IR 100", CANARY.encode()
    )
    script = (
        "import sys; from service.imaging.decode import *; "
        "decode(sys.stdin.buffer.read(), ImageLimits())"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", script], input=data, capture_output=True, check=True
    )
    assert CANARY.encode() in data
    assert (ended.stdout, ended.stderr) == (b"", b"")


@pytest.mark.filterwarnings("ignore")
@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_header_damage_gives_a_radiograph_or_a_typed_error(data):
    whole = bytearray(RICH)
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(132, len(whole) - ramp().size * 2))] = data.draw(
            st.integers(0, 255)
        )
    with suppress(EclipError):
        assert isinstance(decode(bytes(whole), ImageLimits(max_pixels=10**6)), Radiograph)


RICH = dicom_bytes(
    dicom_dataset(
        ramp(np.int16, 1000),
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=[500, 10],
        WindowWidth=[200, 5],
        VOILUTFunction="SIGMOID",
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=3,
        ImagerPixelSpacing=[0.1, 0.2],
        ViewPosition="PA",
        SpecificCharacterSet="ISO_IR 100",
        VOILUTSequence=lut(16, 0, 16, bytes(range(32))),
    )
)


def test_real_radiographs_are_shown_with_bright_bone(shared_data):
    for path in sorted((shared_data / "dicom").glob("*.dcm")):
        radiograph = decode(path.read_bytes(), LIMITS)
        rows, columns = radiograph.pixels.shape
        mediastinum = radiograph.pixels[
            rows // 3 : rows * 2 // 3, columns * 9 // 20 : columns * 11 // 20
        ]
        assert np.median(mediastinum) > np.median(radiograph.pixels), path.name
