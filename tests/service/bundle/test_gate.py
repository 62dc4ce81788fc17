"""A gate knows chests by their layout, wherever they were made, and says how well it does."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.bundle.gate import LEAST_ACCURACY, Gate, layout
from service.bundle.manifest import GATE, load, seal
from service.bundle.preprocess import preprocess
from service.errors import BundleCorrupt
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY
from tests.support.pictures import hand, photographs

SPEC = load(DEMO_BUNDLE).manifest.image
PHANTOMS = [
    preprocess(np.asarray(Image.open(path).convert("L")), SPEC)
    for path in sorted((DEMO_LIBRARY.parent / "images").glob("*.jpg"))[::12]
]


@pytest.fixture(scope="module")
def gate() -> Gate:
    found = load(DEMO_BUNDLE).gate
    assert found is not None
    return found


def scores(gate, images):
    return np.array([gate.score(np.ascontiguousarray(image)) for image in images])


def test_upright_phantoms_pass_far_below_the_threshold(gate):
    assert scores(gate, PHANTOMS).max() < -50


@pytest.mark.parametrize(
    "turned",
    [np.flipud, np.rot90, lambda image: np.rot90(image, 3), lambda image: 255 - image],
    ids=["upside down", "on its left side", "on its right side", "inverted"],
)
def test_turned_and_inverted_phantoms_do_not_pass(gate, turned):
    assert scores(gate, map(turned, PHANTOMS)).min() > gate.threshold


def test_a_mirrored_radiograph_passes(gate):
    """A heart on the right is rare, and no fault of the image."""
    assert scores(gate, map(np.fliplr, PHANTOMS)).max() < 0


@pytest.mark.parametrize("grey", [0, 255])
def test_a_border_does_not_matter(gate, grey):
    framed = [
        preprocess(np.pad(image, ((9, 9), (4, 30)), constant_values=grey), SPEC)
        for image in PHANTOMS
    ]
    assert scores(gate, framed).max() < -50


def test_hands_do_not_pass_with_their_fingers_up(gate):
    """With its fingers down one would: `service.imaging.content` sees the ground around it."""
    hands = [preprocess(hand(seed), SPEC) for seed in range(12)]
    assert scores(gate, hands).min() > gate.threshold


def test_whole_photographs_do_not_pass(gate):
    grey = [np.asarray(Image.fromarray(one).convert("L")) for one in photographs()]
    assert scores(gate, [preprocess(one, SPEC) for one in grey]).min() > 0


def test_brightness_contrast_and_size_of_an_image_do_not_matter(gate):
    (plain,) = scores(gate, PHANTOMS[:1])
    pale = (PHANTOMS[0] // 3 + 100).astype(np.uint8)
    large = np.kron(PHANTOMS[0], np.ones((3, 3), np.uint8))
    for other in scores(gate, [pale, large]):
        assert other == pytest.approx(plain, abs=15)


@pytest.mark.parametrize("shape", [(16, 16), (17, 301), (224, 224)])
def test_a_layout_has_no_nan_whatever_the_image(shape):
    assert not np.any(layout(np.full(shape, 7, np.uint8)))
    assert np.all(np.isfinite(layout(np.eye(*shape, dtype=np.uint8) * 255)))


def test_accuracy_weighs_what_should_pass_against_all_that_should_not(gate):
    own, good, bad = np.array([-9.0, 5, 40, -1]), np.array([50.0, 60]), np.array([50.0, 0])
    measured = gate.measured(30, own, {"a": good, "b": bad})
    assert (measured.refused, measured.detected) == (0.25, {"a": 1.0, "b": 0.5})
    assert measured.accuracy == pytest.approx((0.75 + 0.75) / 2)
    assert not measured.decides
    assert gate.decides
    assert gate.accuracy >= LEAST_ACCURACY


def test_a_gate_that_was_not_measured_only_warns():
    assert not Gate.of(np.zeros(64), np.eye(64)).decides


def test_a_bundle_without_a_gate_loads(copied):
    (copied / GATE).unlink()
    assert seal(copied, load(DEMO_BUNDLE).manifest).gate is None
    assert load(copied).gate is None


def test_a_changed_gate_is_noticed(copied):
    (copied / GATE).write_text((copied / GATE).read_text().replace("30.0", "99.0"))
    with pytest.raises(BundleCorrupt, match=GATE):
        load(copied)


@pytest.mark.parametrize("change", [{"mean": "AAAA"}, {"refused": 2}, {"another": 1}])
def test_a_sealed_file_that_holds_no_gate_is_refused_before_the_first_request(copied, change):
    (copied / GATE).write_text(json.dumps(json.loads((copied / GATE).read_text()) | change))
    with pytest.raises(BundleCorrupt, match="holds no gate"):
        seal(copied, load(DEMO_BUNDLE).manifest)


@pytest.fixture
def copied(tmp_path) -> Path:
    for file in DEMO_BUNDLE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path
