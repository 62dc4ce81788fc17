import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.bundle.manifest import MANIFEST, REQUIRED, Golden, load, seal
from service.errors import BundleCorrupt
from service.settings import DEMO_BUNDLE

FILES = sorted(path.name for path in DEMO_BUNDLE.iterdir())


def test_the_demo_bundle_is_as_it_was_sealed():
    bundle = load(DEMO_BUNDLE)
    assert set(bundle.manifest.files) == set(FILES) - {MANIFEST}
    assert sum(path.stat().st_size for path in DEMO_BUNDLE.iterdir()) < 10 * 10**6


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_in_any_file_is_refused_with_the_files_name(bundle_copy: Path, data):
    path = bundle_copy / data.draw(st.sampled_from(FILES))
    original = path.read_bytes()
    offset = data.draw(st.integers(0, len(original) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(original)
    changed[offset] ^= 1 << bit
    path.write_bytes(changed)
    with pytest.raises(BundleCorrupt, match=path.name.replace(".", r"\.")):
        load(bundle_copy)
    path.write_bytes(original)
    load(bundle_copy)


@pytest.mark.parametrize("name", [MANIFEST, *REQUIRED])
def test_a_missing_file_is_named(bundle_copy: Path, name: str):
    (bundle_copy / name).unlink()
    with pytest.raises(BundleCorrupt, match=name):
        load(bundle_copy)


def test_a_manifest_with_an_unknown_key_is_refused(bundle_copy: Path):
    manifest = json.loads((bundle_copy / MANIFEST).read_text())
    (bundle_copy / MANIFEST).write_text(json.dumps(manifest | {"extra": 1}))
    with pytest.raises(BundleCorrupt, match="extra"):
        load(bundle_copy)


def test_a_file_name_cannot_leave_the_folder(bundle_copy: Path):
    manifest = json.loads((bundle_copy / MANIFEST).read_text())
    manifest["files"]["../outside"] = manifest["files"]["text.onnx"]
    (bundle_copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleCorrupt, match="format 1"):
        load(bundle_copy)


def test_sealing_the_same_content_gives_the_same_identity(bundle_copy: Path, tmp_path: Path):
    other = Path(shutil.copytree(bundle_copy, tmp_path / "other"))
    manifest = load(bundle_copy).manifest
    assert seal(other, manifest).manifest.id == manifest.id
    renamed = seal(other, manifest.model_copy(update={"name": "other"}))
    assert renamed.manifest.id != manifest.id


def test_golden_vectors_survive_exactly():
    image, text = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    golden = Golden.of("words", image, text)
    np.testing.assert_array_equal(golden.image_vector(), image)
    np.testing.assert_array_equal(golden.text_vector(), text)
