"""What is exported, and under which name, as `eclip-train export` decides it."""

import json

import pytest

from service.bundle.manifest import IMAGE_TOWER, INT8, TEXT_TOWER, load
from service.settings import DEMO_BUNDLE
from tests.training.published import vit
from training.evaluate.encode import BundleEncoder
from training.evaluate.result import NotMeasured
from training.export import export as module
from training.export.export import Export
from training.export.int8 import LEAST_OVERLAP
from training.recipe import CONFIGS, RecipeError

LABELS = CONFIGS / "chexpert.labels.json"


@pytest.fixture
def written(monkeypatch):
    """What was asked of `write_bundle`, which writes nothing here."""
    calls = []

    def write_bundle(clip, _, **arguments):
        calls.append({"image": clip.image} | arguments)
        return load(DEMO_BUNDLE)

    monkeypatch.setattr(module, "write_bundle", write_bundle)
    return calls


def test_labels_of_ones_own_go_into_the_bundle(finished, written, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"mine": {"mass": {"present": ["A mass."]}}}))
    exported = Export(labels)(str(finished.run), tmp_path / "b")
    (call,) = written
    assert list(call["label_sets"].root) == ["mine"]
    assert call["name"] == "phantom-tiny"
    assert exported.uncalibrated == {}


def test_an_open_clip_model_may_be_served_with_shrunk_images(
    make_clip, written, monkeypatch, tmp_path
):
    monkeypatch.setattr("training.run.models.from_open_clip", lambda *_: make_clip("vit"))
    Export(LABELS)("ViT-B-32", tmp_path / "exact")
    Export(LABELS, reducing_gap=2)("ViT-B-32", tmp_path / "fast")
    assert [call["image"].reducing_gap for call in written] == [None, 2]
    assert [call["name"] for call in written] == ["ViT-B-32"] * 2


def test_a_model_of_transformers_is_named_as_its_folder(written, tmp_path):
    vit(tmp_path / "my-vit")
    exported = Export(LABELS, reducing_gap=2)(f"transformers:{tmp_path / 'my-vit'}", tmp_path / "b")
    (call,) = written
    assert call["name"] == "my-vit"
    assert call["image"].reducing_gap == 2
    assert call["label_sets"].root == {}
    assert exported.uncalibrated == {"all labels": "the model encodes images alone"}


def test_other_weights_than_its_own_are_refused_for_a_model_of_transformers(tmp_path):
    with pytest.raises(RecipeError, match="its own weights"):
        Export(LABELS, pretrained="laion2b")("transformers:model", tmp_path / "b")


@pytest.mark.slow
def test_images_alone_are_validated_without_texts(tmp_path, demo_pairs, monkeypatch):
    """int8 graphs, the mean image and the gate come of the images; no label is calibrated."""
    monkeypatch.setattr(module, "validation_pairs", lambda *_: demo_pairs)
    vit(tmp_path / "vit", side=demo_pairs.images.shape[1])
    export = Export(LABELS, validation=tmp_path)
    exported = export(f"transformers:{tmp_path / 'vit'}", tmp_path / "b")
    manifest = exported.bundle.manifest
    assert exported.uncalibrated == {"all labels": "the model encodes images alone"}
    assert manifest.int8 is not None
    assert manifest.int8.golden.text is manifest.int8.golden.text_embedding is None
    assert manifest.int8.overlap_at_10 >= LEAST_OVERLAP
    assert INT8[IMAGE_TOWER] in manifest.files
    assert INT8[TEXT_TOWER] not in manifest.files
    assert manifest.image_mean is not None
    assert "of the ten nearest are those of fp32" in exported.bundle.model_card
    with pytest.raises(NotMeasured, match="encodes images alone"):
        BundleEncoder(exported.bundle).texts(["No effusion."])


def test_a_run_is_served_with_images_as_it_was_trained(finished, tmp_path):
    with pytest.raises(RecipeError, match="that it was trained with"):
        Export(LABELS, reducing_gap=2)(str(finished.run), tmp_path / "b")
