"""Windows, LUTs, rescales, padding and polarities that contradict the pixels."""

from copy import deepcopy

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from service.errors import ImageUndecodable
from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, chest, corrections

TWELVE = {"BitsStored": 12, "HighBit": 11}
PIXELS = chest(4095)
EDGE = np.concatenate([PIXELS[0], PIXELS[-1], PIXELS[:, 0], PIXELS[:, -1]])
INSIDE = np.setdiff1d(PIXELS, EDGE)
IDENTITY = np.arange(4096).astype("<u2")
FALLING = IDENTITY[::-1].copy()
CR = "1.2.840.10008.5.1.4.1.1.1"
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def said(right: np.ndarray = PIXELS, pixels: np.ndarray = PIXELS, **header: object) -> str:
    return corrections(dicom_dataset(pixels, **TWELVE | header), right / 4095)


def table(entries: int, first: int, bits: int, data: np.ndarray) -> Sequence:
    """A LUT with an unsigned descriptor."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, first % 2**16, bits])
    item.LUTData = data.tobytes()
    return Sequence([item])


SEVERAL = Sequence([*table(4096, 0, 12, IDENTITY), *table(4096, 0, 12, FALLING)])


@pytest.mark.parametrize(
    ("bits", "entries", "depth"),
    [
        (16, IDENTITY, 12),
        (16, IDENTITY // 2, 11),
        (16, IDENTITY // 4, 10),
        (16, IDENTITY // 16, 8),
        (12, IDENTITY * 16, 16),
        (10, IDENTITY, 12),
        (8, IDENTITY, 12),
        (0, IDENTITY, 12),
        (12, IDENTITY, None),
        (16, (IDENTITY // 16).astype(np.uint8), 8),
        (8, (IDENTITY // 16).astype(np.uint8), None),
    ],
)
def test_a_voi_luts_depth_is_that_of_its_entries(bits, entries, depth):
    got = said(VOILUTSequence=table(4096, 0, bits, entries))
    assert f"({depth} bits); its descriptor says {bits}" in got if depth else got == ""


@pytest.mark.parametrize("declared", [0, 100, 1024])
def test_all_entries_of_a_lut_are_used(declared):
    got = said(VOILUTSequence=table(declared, 0, 12, IDENTITY))
    assert "All 4096 entries" in got


def test_zeros_that_pad_a_lut_are_passed_over():
    padded = np.concatenate([IDENTITY, np.zeros(8, "<u2")])
    assert said(VOILUTSequence=table(4096, 0, 12, padded)) == ""


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_lut_that_is_too_short_is_named(keyword):
    lut = table(4096, 0, 12, IDENTITY[:1000])
    with pytest.raises(ImageUndecodable, match="LUTData"):
        decode(dicom_bytes(dicom_dataset(PIXELS, **TWELVE, **{keyword: lut})), LIMITS)


def test_a_lut_without_a_whole_descriptor_is_named():
    lut = table(4096, 0, 12, IDENTITY)
    lut[0].LUTDescriptor = [4096, 0]
    with pytest.raises(ImageUndecodable, match="LUTDescriptor"):
        decode(dicom_bytes(dicom_dataset(PIXELS, VOILUTSequence=lut)), LIMITS)


@pytest.mark.parametrize(
    ("header", "used"),
    [
        ({"VOILUTSequence": table(4096, 30_000, 12, IDENTITY)} | WINDOW, "Window 1 was used"),
        ({"VOILUTSequence": table(4096, 0, 12, IDENTITY * 0)}, "range of values"),
        ({"VOILUTSequence": table(4096, 0, 12, IDENTITY[:0])} | WINDOW, ""),
        ({"VOILUTSequence": table(4096, -9000, 12, IDENTITY), "RescaleIntercept": -9000}, ""),
        (
            {"VOILUTSequence": table(4096, 0, 12, IDENTITY), "RescaleIntercept": -9000},
            "VOI LUT over stored values",
        ),
        (WINDOW, ""),
        (WINDOW | {"WindowCenter": 20_000}, "range of values"),
        (WINDOW | {"WindowCenter": -20_000}, "range of values"),
        ({"WindowCenter": 32_768, "WindowWidth": 65_536}, "range of values"),
        ({"WindowCenter": 100, "WindowWidth": 100}, "range of values"),
        ({"WindowCenter": 2048, "WindowWidth": -4096}, "range of values"),
        ({"WindowCenter": 2048}, "range of values"),
        ({"WindowCenter": [90_000, 2048], "WindowWidth": [400, 4096]}, "Window 2 was used"),
        ({"WindowCenter": [2048, 90_000], "WindowWidth": [4096, 400]}, "first window"),
        ({"VOILUTSequence": SEVERAL}, "first VOI"),
        ({"VOILUTSequence": Sequence([Dataset(), *SEVERAL[:1]])}, ""),
        (WINDOW | {"RescaleIntercept": -9000}, "over stored instead of rescaled values"),
        ({"WindowCenter": 4096, "WindowWidth": 8192, "RescaleSlope": 2}, ""),
    ],
)
def test_what_misses_the_pixels_is_not_used(header, used):
    rescale = {"RescaleSlope": 1, "RescaleIntercept": 0} if "Rescale" in str(header) else {}
    got = said(**rescale | header)
    assert used in got
    assert bool(used) == bool(got)


BORDERED = np.pad(PIXELS.clip(1), 60)


@pytest.mark.parametrize("width", [500, 1000, 2000])
@pytest.mark.parametrize("pixels", [PIXELS, BORDERED], ids=["whole", "with a black border"])
def test_a_narrow_window_is_used_as_it_is(pixels, width):
    centre = int(np.median(PIXELS))
    shown = np.clip((pixels - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    dataset = dicom_dataset(pixels, **TWELVE, WindowCenter=centre, WindowWidth=width)
    assert corrections(dataset, shown) == ""


def test_a_border_inside_of_a_window_does_not_hide_that_it_misses_the_image():
    """A window of computed tomography, whose grays are only the border's."""
    pixels = np.pad(1000 + PIXELS // 2, 60)
    header = {"WindowCenter": 40, "WindowWidth": 400}
    got = corrections(dicom_dataset(pixels, **TWELVE, **header), pixels / pixels.max())
    assert "range of values" in got


@pytest.mark.parametrize("first", [-500, -(2**15)])
def test_a_luts_first_value_has_the_sign_that_fits(first):
    """Signed pixels, and a LUT that declares an unsigned first value; and the other way round."""
    pixels = chest(1000, np.int16) + np.int16(first)
    lut = table(1001, first, 16, (np.arange(1001) * 65).astype("<u2"))
    dataset = dicom_dataset(pixels, VOILUTSequence=lut)
    assert corrections(dataset, chest(1000) * 65 / 65535) == ""
    high = chest(1000, np.uint16) + np.uint16(40_000)
    lut = table(1001, 40_000, 16, (np.arange(1001) * 65).astype("<u2"))
    dataset = dicom_dataset(high, RescaleSlope=1, RescaleIntercept=-1, VOILUTSequence=lut)
    assert "first value as unsigned" in corrections(dataset, chest(1000) * 65 / 65535)


def test_a_modality_luts_first_value_has_the_sign_that_fits():
    lut = table(4096, 2**16 - 2048, 12, IDENTITY)
    pixels = PIXELS.astype(np.int16) - np.int16(2048)
    assert said(pixels=pixels, ModalityLUTSequence=lut, **WINDOW) == ""


def test_a_modality_lut_that_misses_the_pixels_is_named():
    lut = table(4096, 30_000, 12, IDENTITY)
    with pytest.raises(ImageUndecodable, match="modality LUT"):
        decode(dicom_bytes(dicom_dataset(PIXELS, **TWELVE, ModalityLUTSequence=lut)), LIMITS)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"RescaleSlope": 2, "WindowCenter": 4096, "WindowWidth": 8192}, "RescaleIntercept was"),
        (
            {"RescaleIntercept": -1024, "WindowCenter": 1024, "WindowWidth": 4096},
            "RescaleSlope was",
        ),
        ({"RescaleIntercept": -1024, "RescaleSlope": 0} | WINDOW, "RescaleSlope is 0"),
        ({"RescaleIntercept": "", "RescaleSlope": ""} | WINDOW, ""),
    ],
)
def test_half_a_rescale_is_completed(header, expected):
    got = said(**header)
    assert expected in got
    assert bool(expected) == bool(got)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [b"nan ", b"abc ", b"1\\2 "])
def test_a_rescale_that_is_not_a_number_is_named_and_not_quoted(keyword, value):
    header = {"RescaleSlope": 1, "RescaleIntercept": 0} | {keyword: 7777}
    data = dicom_bytes(dicom_dataset(PIXELS, **header)).replace(b"7777", value)
    with pytest.raises(ImageUndecodable, match=keyword) as raised:
        decode(data, LIMITS)
    assert value.decode().strip() not in str(raised.value).replace("not one finite number", "")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, "most of the image"),
        ({"PixelPaddingValue": 1000, "PixelPaddingRangeLimit": 3000}, "values of the image"),
        ({"PixelPaddingValue": int(INSIDE[0])}, "edge"),
        ({"PixelPaddingValue": 60_000}, ""),
    ],
)
def test_padding_that_hits_the_image_is_taken_as_pixels(header, expected):
    got = said(**header)
    assert expected in got
    assert bool(expected) == bool(got)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "contradicts"),
    [
        ("MONOCHROME1", "", True, False),
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME1", "IDENTITY", False, True),
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME2", "INVERSE", True, True),
        ("MONOCHROME2", "OTHER", False, False),
    ],
)
def test_the_presentation_shape_decides_the_polarity(photometric, shape, inverted, contradicts):
    header = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    got = said(right=4095 - PIXELS if inverted else PIXELS, **header)
    assert bool(got) == contradicts


def test_the_explanations_of_windows_and_luts_are_not_repeated():
    """They are free text, and may hold a name."""
    for each in (lut := deepcopy(SEVERAL)):
        each.LUTExplanation = "Doe-Canary"
    explained = {"WindowCenterWidthExplanation": ["Doe-Canary", "HARD"], "VOILUTSequence": lut}
    got = said(**explained, WindowCenter=[2048, 100], WindowWidth=[4096, 400])
    assert got == "The first VOI LUT was used: the header has several."


DETECTOR = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "Modality": "DX"}
PROCESSING = DETECTOR | {"PresentationIntentType": "FOR PROCESSING"}


@pytest.mark.parametrize(
    ("header", "inverted", "corrected"),
    [
        (PROCESSING, False, False),
        (PROCESSING | {"PhotometricInterpretation": "MONOCHROME1"}, True, False),
        (PROCESSING | {"PixelIntensityRelationshipSign": -1}, False, False),
        (PROCESSING | {"PixelIntensityRelationshipSign": 1}, True, True),
        (DETECTOR | {"PixelIntensityRelationshipSign": 1}, True, True),
        (PROCESSING | {"PixelIntensityRelationshipSign": 0}, False, False),
        (PROCESSING | {"PixelIntensityRelationshipSign": [1, 2]}, False, False),
        (
            PROCESSING
            | {"PixelIntensityRelationshipSign": 1, "PhotometricInterpretation": "MONOCHROME1"},
            True,
            False,
        ),
        (
            PROCESSING | {"PixelIntensityRelationshipSign": 1, "PresentationLUTShape": "INVERSE"},
            True,
            False,
        ),
        (
            PROCESSING | {"PixelIntensityRelationshipSign": -1, "PresentationLUTShape": "INVERSE"},
            False,
            True,
        ),
        (PROCESSING | {"PixelIntensityRelationshipSign": 1, "SOPClassUID": CR}, True, True),
    ],
)
def test_the_polarity_of_raw_data_is_that_of_the_beam_and_the_image_is_doubted(
    header, inverted, corrected
):
    right = 4095 - PIXELS if inverted else PIXELS
    got = said(right=right, **header)
    assert ("PixelIntensityRelationshipSign" in got) == corrected
    (doubt,) = decode(dicom_bytes(dicom_dataset(PIXELS, **TWELVE | header)), LIMITS).doubts
    assert "FOR PROCESSING" in doubt.text
    assert doubt.refuses == "alone"


@pytest.mark.parametrize(
    "header",
    [
        DETECTOR | {"PresentationIntentType": "FOR PRESENTATION"},
        DETECTOR | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1"},
        {"SOPClassUID": CR},
    ],
)
def test_the_beam_does_not_decide_over_the_polarity_of_an_image_for_readers(header):
    assert said(PixelIntensityRelationshipSign=1, **header) == ""
    assert said(PixelIntensityRelationshipSign=[1, 1], **header) == ""
    dataset = dicom_dataset(PIXELS, PixelIntensityRelationshipSign=1, **TWELVE, **header)
    assert decode(dicom_bytes(dataset), LIMITS).doubts == ()
