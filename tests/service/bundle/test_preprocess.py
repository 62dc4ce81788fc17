import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image

from service.bundle.preprocess import ImageSpec, preprocess


def open_clips_own(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    transform = image_transform(
        (spec.height, spec.width),
        is_train=False,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        resize_mode=spec.fit,
        interpolation=spec.interpolation,
        fill_color=spec.fill,
    )
    channels = transform(Image.fromarray(pixels).convert("RGB")).numpy() * 255
    return np.rint(channels[0]).astype(np.uint8)


@pytest.mark.parametrize("fit", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(97, 131), (131, 97), (40, 300), (64, 64), (333, 334)])
@pytest.mark.parametrize("target", [(64, 64), (48, 96)])
def test_model_pixels_are_open_clips_own(fit, interpolation, shape, target):
    if fit == "shortest" and target[0] != target[1]:
        interpolation = "bicubic"  # open_clip ignores the choice there
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    spec = ImageSpec(
        height=target[0], width=target[1], fit=fit, interpolation=interpolation, fill=7
    )
    np.testing.assert_array_equal(preprocess(pixels, spec), open_clips_own(pixels, spec))


@given(
    st.integers(32, 200),
    st.integers(32, 200),
    st.sampled_from(["shortest", "longest", "squash"]),
)
@settings(max_examples=40, deadline=None)
def test_deep_pixels_give_the_same_levels_as_eight_bit_ones(rows, columns, fit):
    """Away from black and white, where 8-bit resampling clips between its two passes."""
    pixels = np.random.default_rng(rows).integers(80, 176, (rows, columns)).astype(np.uint8)
    spec = ImageSpec(height=32, width=48, fit=fit)
    shallow = preprocess(pixels, spec)
    deep = preprocess(pixels.astype(np.uint16) * 257, spec)
    assert shallow.shape == deep.shape == (32, 48)
    assert shallow.dtype == deep.dtype == np.uint8
    assert np.abs(shallow.astype(int) - deep).max() <= 1
