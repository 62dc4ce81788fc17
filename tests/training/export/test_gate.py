"""A gate is fitted on one half of the validation images and honestly measured on the other."""

import numpy as np
import pytest

from service.bundle.manifest import load
from service.settings import DEMO_BUNDLE
from training.data.phantom import PhantomConfig, phantom
from training.data.rendering import phantom_indices
from training.data.spec import PhantomData
from training.export.gate import LEAST_IMAGES, MARGIN, VARIED, fit_gate, varied
from training.export.strangers import SIDE, TURNS, strangers

pytestmark = pytest.mark.slow

CONFIG = PhantomConfig(size=64, seed=11)


@pytest.fixture(scope="module")
def phantoms():
    return np.stack([phantom(CONFIG, number).image for number in range(2 * LEAST_IMAGES)])


def test_a_gate_passes_what_is_like_its_images_and_refuses_what_is_turned(phantoms):
    gate = fit_gate(phantoms)
    assert gate.images == LEAST_IMAGES
    assert gate.refused <= 0.01
    assert all(gate.detected[kind] > 0.98 for kind in TURNS)
    assert set(gate.detected) == {*TURNS, *strangers()}
    assert gate.threshold == MARGIN
    assert gate.decides
    assert gate.model_dump() == fit_gate(phantoms).model_dump()


def test_images_without_a_layout_make_a_gate_that_only_warns():
    noise = np.random.default_rng(0).integers(0, 256, (120, 32, 32)).astype(np.uint8)
    gate = fit_gate(noise)
    assert not gate.decides
    assert gate.accuracy == pytest.approx(0.5, abs=0.15)


def test_its_threshold_refuses_at_most_one_in_a_hundred_of_its_own():
    """Half of these images lie on their side, as in a carelessly collected data set."""
    drawn = [phantom(CONFIG, number).image for number in range(LEAST_IMAGES)]
    mixed = [np.rot90(one) if number % 4 > 1 else one for number, one in enumerate(drawn)]
    assert fit_gate(np.stack(mixed)).refused <= 0.02


def test_too_few_images_make_no_gate(phantoms):
    assert fit_gate(phantoms[: LEAST_IMAGES - 1]) is None


def test_varied_images_are_as_many_as_asked_and_all_differ(phantoms):
    made = varied(phantoms[:50])
    assert len(made) == VARIED
    assert len({each.tobytes() for each in made}) == VARIED


def test_strangers_are_the_same_at_every_call_and_of_one_size():
    first, second = strangers(), strangers()
    assert first.keys() == second.keys()
    for kind, images in first.items():
        np.testing.assert_array_equal(images, second[kind])
        assert np.shape(images)[1:] == (SIDE, SIDE)


def test_the_demo_carries_the_gate_of_its_validation_phantoms():
    demo = load(DEMO_BUNDLE)
    data = PhantomData.model_validate(demo.manifest.provenance["recipe"]["data"])
    assert demo.gate is not None
    assert demo.gate.images == len(phantom_indices(data, "validation")) / 2
    for kind, rate in demo.gate.detected.items():
        assert f"| {kind} | {rate:.3f} |" in demo.model_card
