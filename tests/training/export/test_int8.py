import logging
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundle.manifest import INT8, Int8, load
from service.bundle.maps import MapChange
from service.inference.self_test import self_test
from service.inference.session import Towers
from service.settings import DEMO_BUNDLE
from training.data.pairs import Pairs
from training.evaluate.encode import BundleEncoder, EmbeddedPairs, Maps, int8_encoder
from training.export import int8
from training.export.int8 import NEAREST, overlap, too_much, with_int8

pytestmark = pytest.mark.slow


def test_admitted_graphs_are_smaller_sealed_and_told_of_in_the_card(int8_demo, demo_pairs):
    for tower, name in INT8.items():
        assert (int8_demo.path / name).stat().st_size < 0.5 * (
            int8_demo.path / tower
        ).stat().st_size
        assert name in int8_demo.manifest.files
    change = int8_demo.manifest.int8
    assert change.studies == len(demo_pairs)
    assert change.overlap_at_10 >= int8.LEAST_OVERLAP
    assert f"{change.overlap_at_10:.3f} of the ten nearest" in int8_demo.model_card
    assert (
        load(int8_demo.path).manifest.id == int8_demo.manifest.id != load(DEMO_BUNDLE).manifest.id
    )


def test_the_service_opens_them_on_a_cpu_and_they_pass_their_own_self_test(int8_demo, demo_pairs):
    towers = Towers(int8_demo, ["CPUExecutionProvider"])
    assert towers.precision == "int8"
    assert towers.max_batch(8) == 1
    self_test(int8_demo, towers, towers.max_batch(8))
    pixels = demo_pairs.images[:4]
    alone = np.concatenate([towers.image(one[np.newaxis]) for one in pixels])
    np.testing.assert_allclose(alone, int8_encoder(int8_demo).images(pixels), atol=1e-6)


def test_no_vector_depends_on_what_is_encoded_beside_it(int8_demo, demo_pairs):
    encoder = int8_encoder(int8_demo)
    pixels = demo_pairs.images[:6]
    np.testing.assert_array_equal(encoder.images(pixels)[2], encoder.images(pixels[2:3])[0])


def test_the_images_stay_where_they_were(int8_demo, demo_pairs):
    ours, theirs = BundleEncoder(int8_demo), int8_encoder(int8_demo)
    cosines = (ours.images(demo_pairs.images) * theirs.images(demo_pairs.images)).sum(axis=1)
    assert cosines.min() > 0.99


def test_maps_are_compared_with_those_of_fp32(int8_demo):
    assert set(int8_demo.manifest.int8.maps) == set(int8_demo.manifest.maps)
    for kind, change in int8_demo.manifest.int8.maps.items():
        assert change.difference < 0.2
        assert change.same_peak > 0.7
        assert f"{kind} maps differ by {change.difference:.1%}" in int8_demo.model_card


def test_each_kind_of_map_is_compared(label_sets):
    """Two images: the maps of one are as they were, those of the other are at another patch."""
    grid = np.float32([[[3, 1], [0, 0]]] * 2)
    moved = np.stack([grid[0], np.float32([[1, 3], [0, 0]])])
    texts = np.float32([[0, 1]])

    def giving(attention):
        patches = np.stack([attention, 2 * attention], axis=-1)
        encoder = SimpleNamespace(maps=lambda _: Maps(attention, patches), texts=lambda _: texts)
        return EmbeddedPairs(encoder, Pairs(np.zeros((2, 16, 16), np.uint8), ()))

    changes = int8.map_changes(giving(grid), giving(moved), label_sets)
    assert changes == dict.fromkeys(("attention", "text"), MapChange(difference=0.5, same_peak=0.5))


def test_graphs_that_change_too_much_are_left_out_with_a_warning(
    demo_pairs, tmp_path, monkeypatch, caplog
):
    def quantise_coarsely(source, target):
        model = onnx.load(source)
        for weight in model.graph.initializer:
            values = onnx.numpy_helper.to_array(weight)
            if values.dtype == np.float32 and values.ndim > 1:
                step = np.abs(values).max()
                rounded = np.round(values / step) * step
                weight.CopyFrom(onnx.numpy_helper.from_array(rounded, weight.name))
        onnx.save(model, target)

    monkeypatch.setattr(int8, "quantise", quantise_coarsely)
    demo = load(DEMO_BUNDLE)
    with caplog.at_level(logging.WARNING):
        bundle = with_int8(demo, tmp_path / "b", demo.label_sets, demo_pairs)
    assert bundle.manifest.int8 is None
    assert not any((bundle.path / name).exists() for name in INT8.values())
    assert "int8 is not admitted: only" in caplog.text


@pytest.mark.parametrize(
    ("overlap_at_10", "decisions", "why"),
    [(0.95, 0.99, None), (0.89, 1.0, "ten nearest"), (1.0, 0.97, "calls"), (0.9, 0.98, None)],
)
def test_the_bounds_are_those_stated(overlap_at_10, decisions, why):
    golden = load(DEMO_BUNDLE).manifest.golden
    reason = too_much(
        Int8(golden=golden, studies=1, overlap_at_10=overlap_at_10, decisions=decisions)
    )
    assert (reason is None) if why is None else why in reason


@given(seed=st.integers(0, 1000), reports=st.integers(0, 30))
def test_what_is_the_same_overlaps_wholly_and_noise_does_not(seed, reports):
    rng = np.random.default_rng(seed)
    one = rng.standard_normal((40, 8)), rng.standard_normal((reports, 8))
    assert overlap(one, one) == 1
    other = rng.standard_normal((40, 8)), rng.standard_normal((reports, 8))
    assert overlap(one, other) < 1 or 0 < reports <= NEAREST
