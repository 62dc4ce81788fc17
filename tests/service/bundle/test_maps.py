import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.bundle.maps import MapQuality, Measured, text_map, upsampled

TEXT, COMMON = np.float32([1, 0]), np.float32([0.25, 0.5])
PATCHES = np.float32([[[1, 0], [0, 1]], [[0, 0], [-1, 0]]])
ATTENTION = np.float32([[0.5, 0.25], [0.25, 0]])


def test_last_tokens_are_compared_with_the_text_alone():
    found = text_map("last_token", PATCHES, None, TEXT, COMMON)
    np.testing.assert_array_equal(found, [[1, 0], [0, -1]])


def test_along_the_value_path_attention_weighs_what_sets_the_text_apart():
    found = text_map("value_path", PATCHES, ATTENTION, TEXT, COMMON)
    np.testing.assert_array_equal(found, [[0.375, -0.125], [0, 0]])


def test_a_class_activation_is_what_the_feature_says_of_the_text():
    found = text_map("class_activation", PATCHES, None, TEXT, COMMON)
    np.testing.assert_array_equal(found, [[0.75, -0.5], [0, -0.75]])


@given(
    st.sampled_from(["last_token", "value_path", "class_activation"]),
    arrays(np.float32, (3, 2, 4), elements=st.floats(-1, 1, width=32)),
    arrays(np.float32, (3, 2), elements=st.floats(0, 1, width=32)),
)
def test_a_map_is_finite_whatever_the_tower_answers(kind, patches, attention):
    text = np.float32([1, 0, 0, 0])
    found = text_map(kind, patches, attention, text, np.zeros(4, np.float32))
    assert found.shape == (3, 2)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


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
