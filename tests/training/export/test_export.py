"""What is exported, and under which name, as `eclip-train export` decides it."""

import json

import pytest

from service.bundle.manifest import load
from service.settings import DEMO_BUNDLE
from training.export import export as module
from training.export.export import Export
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


def test_a_run_is_served_with_images_as_it_was_trained(finished, tmp_path):
    with pytest.raises(RecipeError, match="that it was trained with"):
        Export(LABELS, reducing_gap=2)(str(finished.run), tmp_path / "b")
