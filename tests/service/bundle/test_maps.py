import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.bundle.maps import MapQuality, Measured, text_map, upsampled


@given(
    arrays(np.float32, (2, 3, 4), elements=st.floats(-1, 1, width=32)),
    arrays(np.float32, 4, elements=st.floats(-1, 1, width=32)),
)
def test_a_texts_map_adds_up_to_what_the_patches_add_to_its_score(patches, text):
    found = text_map(patches, text)
    assert (found.shape, found.dtype) == ((2, 3), np.float32)
    np.testing.assert_allclose(found.sum(), patches.sum(axis=(0, 1)) @ text, atol=1e-4)


def test_the_map_is_stretched_to_the_image():
    wide = upsampled(np.float32([[0, 1], [0, 0]]), 8, 12)
    assert wide.shape == (8, 12)
    assert wide.dtype == np.float32
    assert wide[0, -1] > wide[0, 0]


@pytest.mark.parametrize(
    ("pointing", "auc", "validated"),
    [(0.1, 0.1, True), (0.1, 0, False), (-0.1, 0.1, False), (0, 0, False)],
)
def test_a_map_is_validated_if_it_beats_the_centre_in_both_measures(pointing, auc, validated):
    quality = MapQuality(
        against="lesion",
        studies=9,
        pointing_game=measured(gain_low=pointing),
        pixel_auc=measured(gain_low=auc),
    )
    assert quality.validated is validated


def measured(gain_low):
    return Measured(value=0.7, low=0.6, high=0.8, centre_prior=0.1, gain_low=gain_low)
