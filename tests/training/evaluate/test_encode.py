import shutil

import numpy as np
import pytest

from service.bundle.manifest import INT8, Int8, seal
from training.data.pairs import Pairs
from training.data.study import ManifestStudy
from training.evaluate.encode import BATCH, BundleEncoder, EmbeddedPairs, TorchEncoder, int8_twin
from training.export.bundle import write_bundle

TEXTS = ["Small left effusion.", "No pneumothorax."]


@pytest.fixture(scope="module", params=["vit", "resnet"])
def both(request, make_clip, label_sets, tmp_path_factory):
    clip = make_clip(request.param)
    folder = tmp_path_factory.mktemp("encode") / "bundle"
    bundle = write_bundle(clip, folder, name="tiny", bundle_version="1", label_sets=label_sets)
    return TorchEncoder(clip), BundleEncoder(bundle)


def pixels(encoder, count):
    shape = (count, encoder.image_spec.height, encoder.image_spec.width)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.slow
def test_a_checkpoint_and_its_bundle_encode_alike(both):
    one, other = both
    images = pixels(one, BATCH + 3)
    assert one.image_spec == other.image_spec
    assert one.scorer == other.scorer
    np.testing.assert_allclose(one.images(images), other.images(images), atol=1e-4)
    np.testing.assert_allclose(one.texts(TEXTS), other.texts(TEXTS), atol=1e-4)
    assert one.patch_kind == other.patch_kind
    for mine, theirs in zip(one.maps(images[:2]), other.maps(images[:2]), strict=True):
        if mine is None:
            assert theirs is None
        else:
            np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.slow
def test_int8_graphs_take_the_place_of_their_twins_one_item_a_call(both, tmp_path):
    torch, encoder = both
    assert int8_twin(torch) is None
    assert int8_twin(encoder) is None
    shutil.copytree(encoder.bundle.path, tmp_path / "b")
    for tower, small in INT8.items():
        shutil.copy(tmp_path / "b" / tower, tmp_path / "b" / small)
    manifest = encoder.bundle.manifest
    change = Int8(golden=manifest.golden, studies=1, overlap_at_10=1, decisions=1)
    sealed = seal(tmp_path / "b", manifest.model_copy(update={"int8": change}))
    twin = int8_twin(BundleEncoder(sealed))
    assert (twin.image_file, twin.text_file, twin.batch) == (*INT8.values(), 1)
    np.testing.assert_allclose(twin.texts(TEXTS), encoder.texts(TEXTS), atol=1e-5)


def test_only_the_reports_that_are_there_are_encoded(encoder):
    studies = tuple(
        ManifestStudy(str(n), "p", "t", ("x",), text) for n, text in enumerate(["", "A.", ""])
    )
    pairs = Pairs(np.zeros((3, 16, 16), np.uint8), studies)
    embedded = EmbeddedPairs(encoder({"A.": (3, 4)}), pairs)
    assert embedded.reported.tolist() == [1]
    np.testing.assert_allclose(embedded.reports, [[0.6, 0.8]], rtol=1e-6)
