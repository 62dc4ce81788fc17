"""A DICOM that is decoded smaller gives the tower nearly the same input, of the same window."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from service.bundle.manifest import IMAGE_TOWER, load
from service.bundle.preprocess import ImageSpec
from service.errors import ImageUnsupported
from service.imaging.decode import ImageLimits, decode
from service.imaging.dicom import decode as decoding
from service.imaging.dicom import grayscale, reduction
from service.imaging.dicom.blocks import means_of_blocks
from service.imaging.dicom.pixels import StoredWords, stored_words
from service.imaging.dicom.reduction import LEAST_COSINE, TOLERANCE
from service.settings import DEMO_BUNDLE
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.test_exact import CASES, LEVELS, TWELVE, WINDOW, bordered
from tests.support.archive import SYNTAXES, archived
from training.data.phantom import PhantomConfig, phantom

LIMITS = ImageLimits()
EXACT = load(DEMO_BUNDLE).manifest.image
GAP = EXACT.model_copy(update={"reducing_gap": 2.0})
SHAPE = (907, 1013)
DRAWN = Image.fromarray(phantom(PhantomConfig(size=512), 3).image).resize(SHAPE[::-1])
GRAIN = np.random.default_rng(0).integers(0, 64, SHAPE, np.uint16)
RADIOGRAPH = np.asarray(DRAWN).astype(np.uint16) * 14 + GRAIN
"""Of 12 bits, and with sides that no block divides."""


def differ(data: bytes, spec: ImageSpec = GAP) -> np.ndarray:
    """Levels by which the tower's input differs from that of the whole image."""
    whole, small = decode(data, LIMITS), decode(data, LIMITS, spec)
    assert replace(small, pixels=whole.pixels, whole=None, doubts=()) == replace(whole, doubts=())
    exact = whole.prepared(spec.model_copy(update={"reducing_gap": None}))
    return np.abs(exact.astype(int) - small.prepared(spec))


@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 40)),
    factor=st.integers(1, 64),
    seed=st.integers(0, 99),
    window=st.none() | st.tuples(st.integers(0, 299), st.integers(1, 300), st.booleans()),
)
@settings(max_examples=60)
def test_a_block_is_the_mean_of_what_it_has(shape, factor, seed, window):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 2**16, 300).astype(np.uint16)
    if window:
        ramp = np.clip((np.arange(300) - window[0]) / window[1], 0, 1)
        table = np.rint(65535 * (1 - ramp if window[2] else ramp)).astype(np.uint16)
    places = rng.integers(0, 300, shape).astype(np.uint16)
    starts = [np.arange(0, side, factor) for side in shape]
    expected = [
        [table[places[top : top + factor, left : left + factor]].mean() for left in starts[1]]
        for top in starts[0]
    ]
    np.testing.assert_allclose(means_of_blocks(table, places, factor), expected, atol=2)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [2.0, 3.0])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda each: each.rpartition(".")[2])
def test_every_syntax_stays_within_the_declared_tolerance(syntax, gap):
    data = archived(syntax, RADIOGRAPH, **WINDOW)
    try:
        whole = decode(data, LIMITS)
    except ImageUnsupported:
        pytest.skip("this build reads no such syntax")
    spec = EXACT.model_copy(update={"reducing_gap": gap})
    small = decode(data, LIMITS, spec)
    assert max(small.pixels.shape) <= -(-max(SHAPE) // 2)
    assert differ(data, spec).mean() <= TOLERANCE
    tower = onnxruntime.InferenceSession(load(DEMO_BUNDLE).path / IMAGE_TOWER)
    inputs = np.stack([whole.prepared(EXACT), small.prepared(spec)])
    first, second = tower.run(["embedding"], {"pixels": inputs})[0]
    assert first @ second >= LEAST_COSINE


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("side", [16, 40])
def test_every_kind_of_pixels_stays_within_the_declared_tolerance(case, side):
    pixels, elements = CASES[case]
    data = dicom_bytes(dicom_dataset(pixels, **elements))
    spec = ImageSpec(height=side, width=side, reducing_gap=2.0)
    assert decode(data, LIMITS, spec).pixels.shape < pixels.shape
    assert differ(data, spec).mean() <= TOLERANCE


@pytest.mark.parametrize("fit", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("spacing", [(0.2, 0.2), (0.2, 0.35), (0.35, 0.2)])
@pytest.mark.parametrize("shape", [(539, 614), (511, 407), (640, 480)])
def test_the_field_of_view_stays(fit, spacing, shape):
    """Of steep waves, where a shift of a tenth of the model's pixel is five levels."""
    y, x = np.indices(shape)
    waves = 2000 + 900 * np.sin(x / 23) + 900 * np.sin(y / 19)
    data = dicom_bytes(
        dicom_dataset(waves.astype(np.uint16), ImagerPixelSpacing=list(spacing), **TWELVE, **WINDOW)
    )
    spec = ImageSpec(height=64, width=64, reducing_gap=2.0, fit=fit)
    assert differ(data, spec).max() <= 5


def test_what_else_needs_pixels_finds_them():
    data = dicom_bytes(dicom_dataset(RADIOGRAPH, **TWELVE, **WINDOW))
    kept = {side: max(decode(data, LIMITS, GAP, side=side).pixels.shape) for side in (1, 500, 600)}
    assert kept == {1: 254, 500: 507, 600: 1013}
    assert decode(data, LIMITS, EXACT, side=1).pixels.shape == RADIOGRAPH.shape


@given(
    top=st.integers(0, 4095),
    low=st.integers(0, 4000),
    centre=st.integers(-500, 5000),
    width=st.integers(0, 6000),
    flip=st.booleans(),
    grain=st.integers(1, 4096),
    outlier=st.integers(0, 4095),
)
@settings(max_examples=80, deadline=None)
def test_words_that_may_not_occur_change_nothing(top, low, centre, width, flip, grain, outlier):
    """The table of all words between the ends is used only where that of those that occur agrees.

    The image has more pixels than are sampled, and one that few samples see.
    """
    grains = np.random.default_rng(grain).integers(0, grain, (530, 510))
    pixels = ((low + np.linspace(0, top, 510).astype(int) + grains) & 4095).astype(np.uint16)
    pixels[3, 4] = outlier
    polarity = {"PhotometricInterpretation": "MONOCHROME1"} if flip else {}
    dataset = dicom_dataset(pixels, WindowCenter=centre, WindowWidth=width, **TWELVE, **polarity)
    bits = grayscale.Bits(0, 12, signed=False)
    quick = grayscale.display(pixels, bits, dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grayscale, "_is_plain", lambda *_: False)
        full = grayscale.display(pixels, bits, dataset)
    np.testing.assert_array_equal(quick.pixels, full.pixels)
    assert replace(quick, pixels=full.pixels) == full


@pytest.mark.parametrize(
    ("dtype", "outside"),
    [(np.uint16, 4095), (np.uint16, 4097), (np.int16, -2048), (np.int16, 2050), (np.int16, -2051)],
)
def test_a_smaller_copy_that_overshoots_the_header_is_not_certain(dtype, outside):
    pixels = (RADIOGRAPH.astype(int) // 4 + (500 if dtype == np.uint16 else -500)).astype(dtype)
    pixels[3, 4] = outside
    bits = grayscale.Bits(0, 12, signed=dtype == np.int16)
    window = dicom_dataset(WindowCenter=500, WindowWidth=1000)
    shown = grayscale.display(pixels.view(np.uint16), bits, window, smaller=True)
    assert shown.certain == (outside in {4095, -2048})


def low_values(values: np.ndarray) -> np.ndarray:
    """One level of the reversible wavelet along the first axis (ITU-T T.800 F.4.8.1)."""
    values = np.pad(values.astype(int), ((2, 3), (0, 0)), "reflect")
    even, odd = values[::2], values[1::2]
    high = odd[: len(even) - 1] - (even[:-1] + even[1:]) // 2
    return even[1:-1] + (high[:-1] + high[1:] + 2) // 4


def smaller(words: np.ndarray, levels: int, bits: int) -> np.ndarray:
    """What a codec of wavelets gives at a lower resolution, cut off at the range."""
    values = words.astype(int)
    for _ in range(levels):
        sides = [-(-side // 2) for side in values.shape]
        values = low_values(low_values(values)[: sides[0]].T)[: sides[1]].T
    return np.clip(values, 0, 2**bits - 1).astype(words.dtype)


@pytest.fixture
def asked(monkeypatch):
    """Lets every file be decoded at half and quarter size, and lists how small it was asked for."""
    calls = []

    def small_words(dataset, most=1):
        calls.append(most)
        levels = min(most.bit_length() - 1, 2)
        stored = stored_words(dataset)
        words = smaller(stored.words, levels, int(dataset.BitsStored))
        return StoredWords(words, 2**levels, stored.said) if levels else stored

    monkeypatch.setattr(decoding, "stored_words", small_words)
    return calls


def in_wavelets(pixels: np.ndarray, **elements: object) -> bytes:
    """A file that says it is JPEG 2000; its uncompressed pixels are what the fixture reads."""
    return dicom_bytes(dicom_dataset(pixels, **TWELVE, **elements))


@pytest.fixture
def wavelets(monkeypatch):
    monkeypatch.setattr(reduction, "_WAVELETS", {ExplicitVRLittleEndian, JPEG2000Lossless})


@pytest.mark.usefixtures("wavelets")
@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"RescaleSlope": "1.25", "RescaleIntercept": -500},
        {"PixelPaddingValue": 0},
        {"VOILUTFunction": "SIGMOID"},
    ],
)
def test_a_smaller_copy_is_enough_where_the_header_decides(asked, elements):
    data = in_wavelets(
        bordered(0) if "PixelPaddingValue" in elements else RADIOGRAPH, **WINDOW, **elements
    )
    side = 40 if "PixelPaddingValue" in elements else 96
    spec = ImageSpec(height=side, width=side, reducing_gap=2.0)
    assert differ(data, spec).mean() <= TOLERANCE
    assert len(asked) == 2, "the whole image once for the comparison, and a smaller copy"


@pytest.mark.usefixtures("wavelets")
def test_a_smaller_copy_lies_where_the_image_does(asked):
    y, x = np.indices((539, 613))
    waves = 2000 + 900 * np.sin(x / 23) + 900 * np.sin(y / 19)
    assert differ(in_wavelets(waves.astype(np.uint16), **WINDOW)).max() <= 5
    assert asked == [1, 2]


TURNED = ((np.indices((300, 400))[1] * 10 - 1500) & 4095).astype(np.uint16)


@pytest.mark.usefixtures("wavelets")
@pytest.mark.parametrize(
    ("pixels", "elements", "calls"),
    [
        (RADIOGRAPH, {}, [1, 1]),
        (RADIOGRAPH, {"ModalityLUTSequence": LEVELS} | WINDOW, [1, 1]),
        (RADIOGRAPH, {"WindowCenter": 9000, "WindowWidth": 5}, [1, 4, 1]),
        (RADIOGRAPH, {"WindowCenter": 2300, "WindowWidth": 250}, [1, 4, 1]),
        (RADIOGRAPH, {"WindowCenter": 2300, "WindowWidth": 250, "VOILUTFunction": "SIGMOID"},
         [1, 4, 1]),
        (TURNED, {"WindowCenter": 0, "WindowWidth": 4000}, [1, 3, 1]),
        (bordered(4095), {"PixelPaddingValue": 4095} | WINDOW, [1, 2, 1]),
        (bordered(0), {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"} | WINDOW,
         [1, 2, 1]),
    ],
    ids=["range of values", "modality LUT", "window that misses", "steep window", "steep curve",
         "other sign", "bright padding", "padding turned over"],
)  # fmt: skip
def test_the_whole_image_is_decoded_where_a_smaller_copy_may_mislead(
    asked, pixels, elements, calls
):
    data = in_wavelets(pixels, **elements)
    side = 96 if pixels is RADIOGRAPH else 40
    spec = ImageSpec(height=side, width=side, reducing_gap=2.0)
    assert differ(data, spec).mean() <= TOLERANCE
    assert asked == calls
