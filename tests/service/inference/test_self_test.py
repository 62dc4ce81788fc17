"""A service starts only with towers that answer as at export, and an item as if it were alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from service.bundle.batches import TOLERANCE, alone_and_gap, probe_pixels, probe_texts
from service.bundle.manifest import IMAGE_TOWER, TEXT_TOWER, load, seal
from service.errors import BundleNotReady
from service.inference.self_test import self_test
from service.inference.session import Towers
from service.settings import DEMO_BUNDLE, Settings
from service.wiring import open_services
from tests.support.changed_bundles import image_only, mix_rows

BATCH = 8
PIXELS = probe_pixels(load(DEMO_BUNDLE).manifest.image, BATCH)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle"))


def sealed(copy: Path):
    return seal(copy, load(DEMO_BUNDLE).manifest)


def test_probes_differ_and_begin_with_what_the_export_encoded():
    assert len(np.unique(PIXELS, axis=0)) == BATCH
    assert PIXELS.dtype == np.uint8
    texts = probe_texts("Clear lungs.", BATCH)
    assert texts[:3] == ["Clear lungs.", "1 Clear lungs.", "2 Clear"]
    assert len(set(texts)) == BATCH


def test_the_demo_encodes_each_item_of_a_batch_as_if_it_were_alone():
    towers, demo = Towers(load(DEMO_BUNDLE)), load(DEMO_BUNDLE)
    tokens = demo.tokenizer(probe_texts(demo.manifest.golden.text, BATCH)).ids
    for tower, items in ((towers.image, PIXELS), (towers.text, tokens)):
        first, gap = alone_and_gap(tower, items)
        assert gap <= TOLERANCE
        np.testing.assert_array_equal(first, tower(items[:1])[0])
    self_test(demo, towers, BATCH)


@pytest.mark.parametrize("share", [1, 1e-3])
@pytest.mark.parametrize("tower", [IMAGE_TOWER, TEXT_TOWER])
def test_a_tower_that_mixes_the_items_of_a_batch_is_not_served(
    copy: Path, tower: str, share: float
):
    mix_rows(copy / tower, share)
    mixing = sealed(copy)
    towers = Towers(mixing)
    alone, before = towers.image(PIXELS[:1]), Towers(load(DEMO_BUNDLE)).image(PIXELS[:1])
    np.testing.assert_allclose(alone, before, atol=1e-6)  # the golden answers do not show it
    name = Path(tower).stem
    with pytest.raises(BundleNotReady, match=rf"The {name} tower mixes.*ECLIP_MAX_BATCH=1"):
        self_test(mixing, towers, BATCH)
    self_test(mixing, towers, 1)


@pytest.mark.parametrize("row", [0, BATCH // 2, BATCH - 1])
def test_the_first_the_middle_and_the_last_item_are_looked_at(row: int):
    def tower(items):
        vectors = np.ones((len(items), 2), np.float32)
        vectors[row:] *= 2 if len(items) == BATCH else 1
        return vectors

    assert alone_and_gap(tower, PIXELS)[1] == 1


def test_numbers_that_are_none_are_no_small_gap():
    def tower(items):
        return np.full((len(items), 2), np.nan if len(items) > 1 else 1, np.float32)

    assert not alone_and_gap(tower, PIXELS)[1] <= TOLERANCE


def test_a_batch_that_does_not_fit_into_memory_is_said_to_be_one(copy: Path, monkeypatch):
    towers = Towers(sealed(copy))

    def short(_):
        raise MemoryError

    monkeypatch.setattr(towers, "text", short)
    with pytest.raises(BundleNotReady, match=r"8 items to the text tower\. Lower ECLIP_MAX_BATCH"):
        self_test(load(DEMO_BUNDLE), towers, BATCH)


def test_a_bundle_of_images_alone_is_tested_without_its_texts(copy: Path):
    images = image_only(copy)
    self_test(images, Towers(images), BATCH)


def test_the_service_tests_the_batch_that_it_is_set_to(copy: Path, tmp_path: Path):
    mix_rows(copy / IMAGE_TOWER, 1)
    sealed(copy)
    settings = Settings(data_dir=tmp_path / "var", bundle=copy)
    with pytest.raises(BundleNotReady, match="in a call of 8"), open_services(settings):
        pass
    with open_services(settings.model_copy(update={"max_batch": 1})) as wired:
        assert wired.encoder.healthy


def test_no_larger_batch_is_tested_than_the_queue_can_hold(copy: Path, tmp_path: Path):
    mix_rows(copy / IMAGE_TOWER, 1)
    sealed(copy)
    settings = Settings(data_dir=tmp_path / "var", bundle=copy, max_batch=4096, queue_items=16)
    with pytest.raises(BundleNotReady, match="in a call of 16"), open_services(settings):
        pass
