import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from service.bundle.golden import Golden, golden_pixels
from service.bundle.manifest import (
    IMAGE_TOWER,
    INT8,
    MANIFEST,
    MODEL_CARD,
    OF_TEXT,
    REQUIRED,
    Int8,
    Manifest,
    load,
    seal,
)
from service.bundle.maps import MapQuality, Measured
from service.bundle.preprocess import ImageSpec
from service.errors import BundleCorrupt, TextUnavailable
from service.settings import DEMO_BUNDLE
from tests.support.changed_bundles import image_only

FILES = sorted(path.name for path in DEMO_BUNDLE.iterdir())


def test_the_demo_bundle_is_as_it_was_sealed():
    bundle = load(DEMO_BUNDLE)
    assert set(bundle.manifest.files) == set(FILES) - {MANIFEST}
    assert sum(path.stat().st_size for path in DEMO_BUNDLE.iterdir()) < 10 * 10**6


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_in_any_file_is_refused_with_the_files_name(
    bundle_copy: Path, name: str, data
):
    path = bundle_copy / name
    original = path.read_bytes()
    offset = data.draw(st.integers(0, len(original) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(original)
    changed[offset] ^= 1 << bit
    path.write_bytes(changed)
    with pytest.raises(BundleCorrupt) as refusal:
        load(bundle_copy)
    assert refusal.value.detail.startswith(name)
    path.write_bytes(original)
    load(bundle_copy)


@pytest.mark.parametrize("name", [MANIFEST, *REQUIRED, *OF_TEXT])
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


@pytest.mark.parametrize("name", [*REQUIRED, *OF_TEXT])
def test_a_manifest_without_a_required_file_is_refused(bundle_copy: Path, name: str):
    manifest = load(bundle_copy).manifest
    (bundle_copy / name).unlink()
    with pytest.raises(BundleCorrupt, match=f"lists no {name}"):
        seal(bundle_copy, manifest)


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/b", ".hidden", "", "a\nb", "a\\b"])
def test_a_file_name_is_a_plain_name(name: str):
    entry = {"sha256": "0" * 64, "bytes": 1}
    with pytest.raises(ValidationError, match="files"):
        Manifest.model_validate(load(DEMO_BUNDLE).manifest.model_dump() | {"files": {name: entry}})


def test_a_draft_that_was_never_sealed_is_refused(bundle_copy: Path):
    draft = load(bundle_copy).manifest.model_copy(update={"id": "0" * 64})
    (bundle_copy / MANIFEST).write_text(draft.model_dump_json())
    with pytest.raises(BundleCorrupt, match="after it was sealed"):
        load(bundle_copy)


MEASURED = Measured(value=0.7, low=0.6, high=0.8, centre_prior=0.1, gain_low=0.4)
QUALITY = MapQuality(against="lesion", studies=9, pointing_game=MEASURED, pixel_auc=MEASURED)
CHANGES = {
    "name": "other",
    "version": "2000",
    "dimension": 7,
    "image": ImageSpec(height=32, width=32),
    "context_length": 7,
    "patch_grid": (1, 1),
    "patches": "class_activation",
    "has_attention": False,
    "map_quality": {"attention": QUALITY},
    "logit_scale": 1.5,
    "logit_bias": -1.5,
    "scoring": "sigmoid",
    "golden": Golden(text="other", image_embedding="", text_embedding=""),
    "image_mean": "other",
    "int8": Int8(
        golden=Golden(text="other", image_embedding="", text_embedding=""),
        studies=1,
        overlap_at_10=1,
        decisions=1,
    ),
    "metrics": {"other": 1.0},
    "provenance": {"other": "x"},
}


def test_every_field_is_changed_below_that_can_change_alone():
    assert set(Manifest.model_fields) - set(CHANGES) == {"format", "id", "files", "has_text"}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_the_identity_covers_every_field(bundle_copy: Path, field: str):
    for small in INT8.values():
        (bundle_copy / small).touch()
    manifest = seal(bundle_copy, load(bundle_copy).manifest).manifest
    changed = seal(bundle_copy, manifest.model_copy(update={field: CHANGES[field]})).manifest
    assert changed.id != manifest.id
    assert getattr(changed, field) == CHANGES[field]


def test_a_bundle_of_format_1_is_read_as_what_it_was():
    manifest = json.loads((DEMO_BUNDLE / MANIFEST).read_text())
    old = {key: value for key, value in manifest.items() if key not in NEW} | {"format": 1}
    with_grid = Manifest.model_validate(old | {"patch_grid": [8, 8]})
    assert (with_grid.patches, with_grid.maps) == ("last_token", ("text",))
    without = Manifest.model_validate(old | {"patch_grid": None})
    assert (without.patches, without.maps) == (None, ())


NEW = ("patches", "has_attention", "map_quality")
"""The fields that format 2 added."""


def test_a_bundle_of_format_2_is_read_as_what_it_was():
    old = json.loads((DEMO_BUNDLE / MANIFEST).read_text())
    assert old["format"] == 2
    assert not {"scoring", "has_text"} & old.keys()
    manifest = load(DEMO_BUNDLE).manifest
    assert (manifest.scoring, manifest.has_text) == ("softmax", True)


def test_a_bundle_without_texts_has_no_part_of_them(bundle_copy: Path):
    written = image_only(bundle_copy)
    assert (written.manifest.has_text, written.manifest.maps) == (False, ("attention",))
    assert written.manifest.map_outputs == {"attention": (8, 8)}
    assert not set(OF_TEXT) & written.manifest.files.keys()
    with pytest.raises(TextUnavailable, match="encodes images alone"):
        _ = written.tokenizer


def test_int8_of_a_bundle_without_texts_is_that_of_the_image_tower(bundle_copy: Path):
    manifest = image_only(bundle_copy).manifest
    (bundle_copy / INT8[IMAGE_TOWER]).touch()
    change = Int8(golden=manifest.golden, studies=1, overlap_at_10=1, decisions=1)
    sealed = seal(bundle_copy, manifest.model_copy(update={"int8": change}))
    assert set(INT8.values()) & sealed.manifest.files.keys() == {INT8[IMAGE_TOWER]}


@pytest.mark.parametrize("has_text", [True, False])
@pytest.mark.parametrize("part", ["context_length", "golden.text", "golden.text_embedding"])
def test_parts_of_texts_without_a_text_tower_or_the_reverse_are_refused(
    bundle_copy: Path, part: str, has_text: bool
):
    with_texts, without = load(DEMO_BUNDLE).manifest, image_only(bundle_copy).manifest
    ours, other = (with_texts, without) if has_text else (without, with_texts)
    content, wrong = ours.model_dump(), other.model_dump()
    name, *inner = part.split(".")
    if inner:
        content[name] |= {inner[0]: wrong[name][inner[0]]}
    else:
        content[name] = wrong[name]
    with pytest.raises(ValidationError, match="if and only if has_text"):
        Manifest.model_validate(content)


@pytest.mark.parametrize(
    ("outputs", "maps"),
    [
        ({"has_attention": True}, ("attention",)),
        ({"patches": "class_activation"}, ("text",)),
        ({"has_attention": True, "patches": "value_path"}, ("attention", "text")),
    ],
)
def test_a_bundle_has_the_maps_of_its_outputs(outputs, maps):
    old = load(DEMO_BUNDLE).manifest.model_dump(exclude={*NEW, "format"})
    assert Manifest.model_validate(old | {"patch_grid": (8, 8)} | outputs).maps == maps


@pytest.mark.parametrize("outputs", [{"patch_grid": (8, 8)}, {"has_attention": True}])
def test_a_grid_without_an_output_or_the_reverse_is_refused(outputs):
    old = load(DEMO_BUNDLE).manifest.model_dump(exclude={*NEW, "format", "patch_grid"})
    with pytest.raises(ValidationError, match="if and only if"):
        Manifest.model_validate({"patch_grid": None} | old | outputs)


def test_int8_that_was_admitted_must_be_there(bundle_copy: Path):
    with pytest.raises(BundleCorrupt, match=r"lists no image\.int8\.onnx"):
        seal(bundle_copy, load(bundle_copy).manifest.model_copy(update={"int8": CHANGES["int8"]}))


def test_the_identity_covers_every_file(bundle_copy: Path):
    manifest = load(bundle_copy).manifest
    (bundle_copy / MODEL_CARD).write_text("Another card.")
    changed = seal(bundle_copy, manifest)
    assert changed.manifest.id != manifest.id
    assert changed.model_card == "Another card."


def test_sealing_the_same_content_gives_the_same_identity(bundle_copy: Path, tmp_path: Path):
    other = Path(shutil.copytree(bundle_copy, tmp_path / "other"))
    manifest = seal(bundle_copy, load(bundle_copy).manifest).manifest
    assert seal(other, manifest).manifest.id == manifest.id
    assert manifest.format == 3
    renamed = seal(other, manifest.model_copy(update={"name": "other"}))
    assert renamed.manifest.id != manifest.id


@given(arrays(np.float32, (2, 16), elements=st.floats(width=32, allow_nan=False)))
def test_golden_vectors_survive_exactly(vectors):
    golden = Golden.model_validate_json(Golden.of("words", *vectors).model_dump_json())
    np.testing.assert_array_equal(golden.image_vector(), vectors[0])
    np.testing.assert_array_equal(golden.text_vector(), vectors[1])
    assert golden.image_vector().dtype == np.float32


def test_golden_pixels_fill_the_towers_input_with_every_level():
    pixels = golden_pixels(ImageSpec(height=96, width=112))
    assert pixels.shape == (1, 96, 112)
    assert len(np.unique(pixels)) == 256
