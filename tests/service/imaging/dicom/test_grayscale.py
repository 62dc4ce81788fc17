import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from service.errors import (
    ImageUndecodable,
)
from service.imaging.decode import decode
from service.imaging.radiograph import Window
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, ramp
from tests.service.imaging.dicom.conftest import LIMITS, close, lut, shown


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
    padding = {"PixelPaddingValue": int(pixels[0, 4])} if padded and top < 2**16 else {}
    seen = pixels != pixels[0, 4] if padding else np.ones_like(pixels, bool)
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
