import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image

from service.bundle.preprocess import (
    ImageSpec,
    Rectangle,
    preprocess,
    scaled_size,
    shown_part,
    shrink_factor,
)


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


FITS = st.sampled_from(["shortest", "longest", "squash"])


@given(
    shape=st.tuples(st.integers(1, 240), st.integers(1, 240)),
    target=st.tuples(st.integers(16, 130), st.integers(16, 130)),
    square=st.booleans(),
    fit=FITS,
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)
@example(shape=(165, 180), target=(32, 126), square=False, fit="shortest", interpolation="bicubic")
@settings(max_examples=150)
def test_every_size_is_resized_and_cropped_as_open_clip_does(
    shape, target, square, fit, interpolation
):
    """In the example a side scales to exactly 115.5, where the order of rounding shows."""
    assume(max(shape) < 20 * min(shape))  # beyond it open_clip may scale a side to nothing and fail
    height, width = (target[0], target[0]) if square else target
    if fit == "shortest" and height != width:
        interpolation = "bicubic"  # open_clip ignores the choice there
    pixels = np.random.default_rng(shape).integers(0, 256, shape).astype(np.uint8)
    spec = ImageSpec(height=height, width=width, fit=fit, interpolation=interpolation)
    np.testing.assert_array_equal(preprocess(pixels, spec), open_clips_own(pixels, spec))


@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    height=st.integers(16, 400),
    width=st.integers(16, 400),
    square=st.booleans(),
    fit=FITS,
)
def test_what_has_the_scaled_size_is_only_cropped_or_padded(size, height, width, square, fit):
    spec = ImageSpec(height=height, width=height if square else width, fit=fit)
    scaled = scaled_size(size, spec)
    assert scaled_size(scaled, spec) == scaled
    gaps = np.array(scaled) - (spec.width, spec.height)
    assert gaps.min() >= 0 if fit == "shortest" else gaps.max() <= 0
    assert 0 in gaps


@pytest.mark.parametrize(
    ("fit", "part"),
    [
        ("shortest", Rectangle(80, 0, 160, 160)),
        ("longest", Rectangle(0, -80, 320, 320)),
        ("squash", Rectangle(0, 0, 320, 160)),
    ],
)
def test_the_input_shows_the_middle_and_what_pads_it(fit, part):
    assert shown_part((320, 160), ImageSpec(height=64, width=64, fit=fit)) == part


def test_patches_show_no_rest_that_is_smaller_than_a_patch():
    """SigLIP's 27 patches of 14 pixels cover 378 of the input's 384."""
    spec = ImageSpec(height=384, width=384, fit="squash")
    assert shown_part((768, 384), spec, (27, 27)) == Rectangle(0, 0, 756, 378)
    assert shown_part((768, 384), spec, (24, 24)) == shown_part((768, 384), spec)


@pytest.mark.parametrize(
    ("fit", "scaled", "part"),
    [
        ("shortest", (160, 80), Rectangle(96, 16, 128, 128)),
        ("squash", (80, 80), Rectangle(32, 16, 256, 128)),
    ],
)
def test_the_centre_may_be_cropped_from_more_than_the_input(fit, scaled, part):
    """The part of an image, and the heatmap or map on it, follow."""
    spec = ImageSpec(height=64, width=64, fit=fit, scaled=80)
    assert scaled_size((320, 160), spec) == scaled
    assert shown_part((320, 160), spec) == part
    pixels = np.zeros((160, 320), np.uint8)
    left, top = round(part.left), round(part.top)
    pixels[top : top + round(part.height), left : left + round(part.width)] = 255
    assert (preprocess(pixels, spec)[2:-2, 2:-2] == 255).all()
    around = preprocess(255 - pixels, spec)
    assert (around[2:-2, 2:-2] == 0).all()


def test_a_larger_scaled_side_is_shrunk_less_before():
    spec = ImageSpec(height=64, width=64, scaled=128, reducing_gap=2)
    assert shrink_factor((1024, 2048), spec) == 4


@pytest.mark.parametrize(("margin", "even", "down"), [(1, 0, 0), (3, 2, 1), (5, 2, 2), (7, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_half_a_pixel_of_a_margin_goes_where_the_bundle_says(margin, even, down, dtype):
    pixels = (np.arange(32 + margin) * np.ones((32, 1))).astype(dtype) * (
        np.iinfo(dtype).max // 255
    )
    for odd_margin, start in (("even", even), ("down", down)):
        spec = ImageSpec(height=32, width=32, odd_margin=odd_margin)
        np.testing.assert_array_equal(preprocess(pixels, spec)[0], np.arange(start, start + 32))
        assert shown_part((32 + margin, 32), spec).left == start


@pytest.mark.parametrize("wrong", [{"scaled": 60}, {"scaled": 80, "fit": "longest"}])
def test_a_scaled_side_that_cannot_be_cropped_is_refused(wrong):
    with pytest.raises(ValueError, match="scaled is"):
        ImageSpec(height=64, width=64, **wrong)


@given(
    size=st.tuples(st.integers(32, 3000), st.integers(32, 3000)),
    spec=st.builds(ImageSpec, height=st.integers(16, 400), width=st.integers(16, 400), fit=FITS),
)
def test_what_is_shown_is_inside_where_it_is_cropped_and_all_around_where_it_is_padded(size, spec):
    """But for the half pixel of the model's input to which sizes are rounded."""
    part = shown_part(size, spec)
    for start, length, whole, pixels in (
        (part.left, part.width, size[0], spec.width),
        (part.top, part.height, size[1], spec.height),
    ):
        slack = length / pixels
        before, after = start, whole - start - length
        assert abs(before - after) <= 2 * slack
        if spec.fit == "shortest":
            assert min(before, after) >= -slack
        else:
            assert max(before, after) <= slack


@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    height=st.integers(16, 80),
    width=st.integers(16, 80),
    fit=FITS,
    fill=st.integers(0, 255),
)
@settings(max_examples=60)
def test_any_radiograph_comes_out_as_the_tower_takes_it(shape, dtype, height, width, fit, fill):
    """And one without contrast keeps its level; `longest` alone may add the fill."""
    level = np.iinfo(dtype).max // 3
    spec = ImageSpec(height=height, width=width, fit=fit, fill=fill)
    levels = preprocess(np.full(shape, level, dtype), spec)
    assert levels.shape == (height, width)
    assert levels.dtype == np.uint8
    assert set(np.unique(levels)) <= ({85, fill} if fit == "longest" else {85})


def test_deep_pixels_keep_black_and_white_and_do_not_wrap_around():
    """Bicubic overshoots at an edge; past the range it must clip."""
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:, 32:] = 65535
    levels = preprocess(pixels, ImageSpec(height=48, width=48))
    assert (levels[:, :20] == 0).all()
    assert (levels[:, 28:] == 255).all()


@given(
    st.integers(32, 200),
    st.integers(32, 200),
    FITS,
)
@settings(max_examples=40)
def test_deep_pixels_give_the_same_levels_as_eight_bit_ones(rows, columns, fit):
    """Away from black and white, where 8-bit resampling clips between its two passes."""
    pixels = np.random.default_rng(rows).integers(80, 176, (rows, columns)).astype(np.uint8)
    spec = ImageSpec(height=32, width=48, fit=fit)
    shallow = preprocess(pixels, spec)
    deep = preprocess(pixels.astype(np.uint16) * 257, spec)
    assert shallow.shape == deep.shape == (32, 48)
    assert shallow.dtype == deep.dtype == np.uint8
    assert np.abs(shallow.astype(int) - deep).max() <= 1


def smooth(rows: int, columns: int, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """An image without detail that a reduction could lose."""
    y, x = np.indices((rows, columns)) / max(rows, columns)
    return ((np.sin(5 * x) + np.cos(7 * y) + 2) / 4 * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("fit", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("gap", [1, 2, 3.5])
def test_a_reducing_gap_gives_nearly_the_same_levels(dtype, fit, gap):
    pixels = smooth(900, 700, dtype)
    exact = preprocess(pixels, ImageSpec(height=64, width=64, fit=fit))
    fast = preprocess(pixels, ImageSpec(height=64, width=64, fit=fit, reducing_gap=gap))
    assert np.abs(exact.astype(int) - fast).max() <= 2


@given(
    size=st.tuples(st.integers(16, 5000), st.integers(16, 5000)),
    side=st.integers(16, 400),
    fit=FITS,
    gap=st.floats(1, 8),
)
def test_a_shrunk_image_still_has_the_gap(size, side, fit, gap):
    spec = ImageSpec(height=side, width=side, fit=fit, reducing_gap=gap)
    factor = shrink_factor(size, spec)
    assert factor >= 1
    left = np.array(size) / factor / scaled_size(size, spec)
    assert factor == 1 or left.min() == pytest.approx(gap)


def test_without_a_reducing_gap_every_pixel_is_resampled():
    assert shrink_factor((5000, 4000), ImageSpec(height=16, width=16)) == 1
