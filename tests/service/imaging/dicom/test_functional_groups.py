"""Multi-frame SOP classes with one frame (PS3.3 C.7.6.16)."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from service.errors import ImageNotARadiograph, ImageUnsupported
from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, chest, close, lut
from tests.support.reference import grouped

WORDS = "1.2.840.10008.5.1.4.1.1.7.3"
PIXELS = chest(4095)
HEADER = {"SOPClassUID": WORDS, "Modality": "DX", "NumberOfFrames": 1}
TWELVE = {"BitsStored": 12, "HighBit": 11}
WINDOW = {"WindowCenter": 1500, "WindowWidth": 2000}


def shown(dataset: Dataset, syntax=ExplicitVRLittleEndian) -> np.ndarray:
    return decode(dicom_bytes(dataset, syntax), LIMITS).pixels


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_window_and_rescale_of_the_frame_are_those_of_the_image(shared, undefined, syntax):
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    top = dicom_dataset(PIXELS, **HEADER, **TWELVE, **WINDOW, **rescale)
    groups = dicom_dataset(PIXELS, **HEADER, **TWELVE)
    grouped(groups, "FrameVOILUTSequence", shared=shared, **WINDOW)
    grouped(groups, "PixelValueTransformationSequence", **rescale)
    for each in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if each in groups:
            groups[each].is_undefined_length = undefined
    np.testing.assert_array_equal(shown(groups, syntax), shown(top))


def test_what_the_image_says_itself_comes_first():
    dataset = dicom_dataset(PIXELS, **HEADER, **TWELVE, **WINDOW)
    grouped(dataset, "FrameVOILUTSequence", WindowCenter=100, WindowWidth=4000)
    top = dicom_dataset(PIXELS, **HEADER, **TWELVE, **WINDOW)
    np.testing.assert_array_equal(shown(dataset), shown(top))


def test_an_empty_sequence_of_the_image_says_nothing():
    dataset = dicom_dataset(PIXELS, **HEADER, **TWELVE, VOILUTSequence=Sequence())
    grouped(dataset, "FrameVOILUTSequence", **WINDOW)
    top = dicom_dataset(PIXELS, **HEADER, **TWELVE, **WINDOW)
    np.testing.assert_array_equal(shown(dataset), shown(top))


def test_the_spacing_of_the_frame_is_that_of_the_image():
    dataset = dicom_dataset(PIXELS, **HEADER)
    grouped(dataset, "PixelMeasuresSequence", PixelSpacing=[0.4, 0.2])
    radiograph = decode(dicom_bytes(dataset), LIMITS)
    assert radiograph.spacing_mm == (0.2, 0.2)
    assert radiograph.pixels.shape == (128, 48)


def test_a_voi_lut_of_the_frame_is_used():
    table = np.arange(4095, -1, -1).astype("<u2")
    dataset = dicom_dataset(PIXELS, **HEADER, **TWELVE)
    grouped(dataset, "FrameVOILUTSequence", VOILUTSequence=lut(4096, 0, 12, table.tobytes()))
    close(shown(dataset) / 65535, 1 - PIXELS / 4095)


@pytest.mark.parametrize("items", [[], [Dataset()]])
def test_empty_functional_groups_say_nothing(items):
    groups = {"PerFrameFunctionalGroupsSequence": Sequence(items)}
    dataset = dicom_dataset(PIXELS, **HEADER, **TWELVE, **groups)
    close(shown(dataset) / 65535, PIXELS / 4095)


def test_several_frames_are_refused_however_long_their_groups():
    frames = Sequence([Dataset() for _ in range(3000)])
    for each in frames:
        each.FrameVOILUTSequence = Sequence([Dataset()])
        each.FrameVOILUTSequence[0].WindowCenterWidthExplanation = "x" * 60
    groups = {"PerFrameFunctionalGroupsSequence": frames}
    dataset = dicom_dataset(PIXELS, **HEADER | {"NumberOfFrames": 3000}, **groups)
    with pytest.raises(ImageUnsupported, match="NumberOfFrames"):
        decode(dicom_bytes(dataset), LIMITS)


def test_the_region_of_the_frame_is_that_of_the_image():
    dataset = dicom_dataset(PIXELS, **HEADER, **TWELVE)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D8700", "SRT", "Forearm"
    grouped(dataset, "FrameAnatomySequence", AnatomicRegionSequence=Sequence([code]))
    with pytest.raises(ImageNotARadiograph, match="AnatomicRegionSequence"):
        decode(dicom_bytes(dataset), LIMITS)
