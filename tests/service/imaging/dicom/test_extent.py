"""Pixels over the whole range of values, and how the file itself shows them."""

import numpy as np
import pytest

from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, ramp
from tests.service.imaging.dicom.conftest import LIMITS

VALUES = ramp(np.uint16, 1000)
NARROW = {"WindowCenter": 400, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"}


def both(**elements):
    """The radiograph over its whole range, and as the file shows it."""
    data = dicom_bytes(dicom_dataset(VALUES, **elements))
    return decode(data, LIMITS, windowed=False), decode(data, LIMITS)


def shown_by_curve(radiograph):
    """What a viewer shows that follows the curve."""
    steps = np.linspace(0, 65535, len(radiograph.extent.curve))
    return np.interp(radiograph.pixels, steps, radiograph.extent.curve) * 65535


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_narrow_window_hides_no_value(photometric):
    whole, windowed = both(PhotometricInterpretation=photometric, **NARROW)
    assert len(np.unique(whole.pixels)) == len(np.unique(VALUES)) > len(np.unique(windowed.pixels))
    expected = VALUES if photometric == "MONOCHROME2" else 1000 - VALUES
    assert np.abs(whole.pixels / 65535 - expected / 1000).max() < 1e-4
    assert (whole.extent.low, whole.extent.high) == (0, 1000)
    assert whole.extent.window == windowed.window
    assert (whole.extent.window.low, whole.extent.window.high) == (300, 500)
    assert whole.extent.curve is None
    assert windowed.extent is None


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_curve_shows_what_the_file_shows(photometric):
    sigmoid = NARROW | {"VOILUTFunction": "SIGMOID"}
    whole, windowed = both(PhotometricInterpretation=photometric, **sigmoid)
    assert np.abs(shown_by_curve(whole) - windowed.pixels).max() < 400
    assert whole.extent.window.source == "window"


def test_a_window_over_stored_values_is_a_curve_over_rescaled_ones():
    """Its writer forgot the rescale; the viewer gets the window in the values of the pixels."""
    whole, windowed = both(RescaleSlope=10, RescaleIntercept=-9000, **NARROW)
    assert windowed.window.high == 500
    assert np.abs(shown_by_curve(whole) - windowed.pixels).max() < 400
    low, high = whole.extent.window.low, whole.extent.window.high
    assert -6000 <= low < high <= -4000


def test_without_a_window_the_whole_range_is_what_the_file_shows():
    whole, windowed = both()
    np.testing.assert_array_equal(whole.pixels, windowed.pixels)
    assert whole.extent.window == windowed.window


def test_padding_is_black_and_widens_no_range():
    padded = VALUES + 100
    padded[:, :4] = 0
    dataset = dicom_dataset(padded.astype(np.uint16), PixelPaddingValue=0, **NARROW)
    whole = decode(dicom_bytes(dataset), LIMITS, windowed=False)
    assert whole.padded
    assert whole.extent.low >= 100
    assert whole.pixels[:, :4].max() == 0
    assert not both()[0].padded
