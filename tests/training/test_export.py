import json

import numpy as np
import onnx
import onnxruntime
import open_clip
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from service.bundle.manifest import IMAGE_TOWER, TEXT_TOWER, load
from service.bundle.preprocess import preprocess
from tests.training.conftest import MODELS, NORMALISATION, WITH_PATCHES
from training import export as exporting
from training.export import CHECKED_BATCHES, TOLERANCE, ParityError, annotate, export
from training.model.clip import from_open_clip

TEXTS = ["Small left effusion.", "No pneumothorax.", "Cardiomegaly."] * 3


@pytest.fixture(scope="module", params=MODELS)
def exported(request, make_clip, label_sets, tmp_path_factory):
    clip = make_clip(request.param)
    directory = tmp_path_factory.mktemp(request.param) / "bundle"
    bundle = export(clip, directory, name="tiny", bundle_version="1", label_sets=label_sets)
    return request.param, clip, bundle


def run(bundle, tower, name, inputs):
    session = onnxruntime.InferenceSession(bundle.path / tower)
    return session.run(["embedding"], {name: inputs})[0]


def pictures(clip, count):
    side = (clip.image.height + 20, clip.image.width)
    levels = np.random.default_rng(1).integers(0, 256, (count, *side)).astype(np.uint8)
    return [Image.fromarray(picture) for picture in levels]


@pytest.mark.parametrize("batch", CHECKED_BATCHES)
def test_image_embeddings_equal_open_clips_own_pipeline(exported, batch):
    """Decoded picture → open_clip's transform → encode_image, against preprocess → ONNX."""
    _, clip, bundle = exported
    size = (clip.image.height, clip.image.width)
    transform = image_transform(size, False, NORMALISATION.mean, NORMALISATION.std)
    images = pictures(clip, batch)
    with torch.no_grad():
        channels = torch.stack([transform(image.convert("RGB")) for image in images])
        theirs = clip.model.encode_image(channels, normalize=True).numpy()
    pixels = np.stack([preprocess(np.asarray(image), clip.image) for image in images])
    ours = run(bundle, IMAGE_TOWER, "pixels", pixels)
    assert np.abs(ours - theirs).max() <= TOLERANCE
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("batch", CHECKED_BATCHES)
def test_text_embeddings_equal_open_clips_own(exported, batch):
    _, clip, bundle = exported
    tokens = clip.tokenizer(TEXTS[:batch]).ids
    with torch.no_grad():
        theirs = clip.model.encode_text(torch.from_numpy(tokens), normalize=True).numpy()
    assert np.abs(run(bundle, TEXT_TOWER, "tokens", tokens) - theirs).max() <= TOLERANCE


def test_the_graph_takes_pixels_and_nothing_else(exported):
    _, clip, bundle = exported
    graph = onnx.load(bundle.path / IMAGE_TOWER).graph
    (pixels,) = graph.input
    dimensions = [d.dim_param or d.dim_value for d in pixels.type.tensor_type.shape.dim]
    assert pixels.name == "pixels"
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert isinstance(dimensions[0], str)
    assert dimensions[1:] == [clip.image.height, clip.image.width]


def test_patches_come_out_where_the_tower_has_them(exported):
    kind, clip, bundle = exported
    assert bundle.manifest.patch_grid == WITH_PATCHES.get(kind)
    names = [output.name for output in onnx.load(bundle.path / IMAGE_TOWER).graph.output]
    assert ("patches" in names) == (kind in WITH_PATCHES)
    if kind in WITH_PATCHES:
        session = onnxruntime.InferenceSession(bundle.path / IMAGE_TOWER)
        pixels = np.stack(
            [np.asarray(p.resize((clip.image.width,) * 2)) for p in pictures(clip, 2)]
        )
        patches = session.run(["patches"], {"pixels": pixels})[0]
        assert patches.shape == (2, *WITH_PATCHES[kind], bundle.manifest.dimension)
        np.testing.assert_allclose(np.linalg.norm(patches, axis=-1), 1, atol=1e-5)


def test_the_logit_scale_and_bias_are_carried(exported):
    kind, clip, bundle = exported
    assert bundle.manifest.logit_scale == pytest.approx(
        clip.model.logit_scale.detach().exp().item()
    )
    assert bundle.manifest.logit_bias == (-10.0 if "siglip" in kind else 0.0)


def test_a_graph_that_differs_from_torch_is_never_written(
    make_clip, label_sets, tmp_path, monkeypatch
):
    def written_wrong(tower, example, path, *names):
        for parameter in tower.parameters():
            parameter.data += 0.01
        write(tower, example, path, *names)
        for parameter in tower.parameters():
            parameter.data -= 0.01

    write = exporting._write_graph
    monkeypatch.setattr(exporting, "_write_graph", written_wrong)
    with pytest.raises(ParityError, match=r"differs from torch by .* at batch 1"):
        export(
            make_clip("vit"), tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets
        )
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_never_overwritten(make_clip, label_sets, tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError, match="immutable"):
        export(
            make_clip("vit"), tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets
        )


def test_rankings_differ_only_where_scores_can_be_told_apart():
    reference = np.array([[0.9, 0.5, 0.499999, 0.1]], dtype=np.float32)
    tied = np.array([[0.9, 0.4999, 0.5, 0.1]], dtype=np.float32)
    swapped = np.array([[0.5, 0.9, 0.4, 0.1]], dtype=np.float32)
    assert exporting.same_ranking(tied, reference)
    assert not exporting.same_ranking(swapped, reference)


def test_annotating_changes_the_words_and_not_the_towers(exported, label_sets, tmp_path):
    *_, bundle = exported
    annotated = annotate(bundle, tmp_path / "annotated", label_sets, {"auroc": 0.75})
    before, after = bundle.manifest, load(tmp_path / "annotated").manifest
    assert after == annotated.manifest
    assert after.id != before.id
    assert after.files[IMAGE_TOWER] == before.files[IMAGE_TOWER]
    assert "0.75" in annotated.model_card


def test_an_open_clip_folder_with_a_checkpoint_is_exported(label_sets, tmp_path):
    """What `hf-hub:` downloads, a `local-dir:` holds: a config, weights, a tokenizer choice."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    config = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    }
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.CLIP(16, vision, text)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    clip = from_open_clip(f"local-dir:{folder}")
    bundle = export(clip, tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets)
    assert bundle.manifest.image.fit == "squash"
    assert bundle.manifest.context_length == 77
    with torch.no_grad():
        theirs = model.eval().encode_text(
            open_clip.get_tokenizer("ViT-B-32")(["clear lungs"]), normalize=True
        )
    ours = run(bundle, TEXT_TOWER, "tokens", bundle.tokenizer(["clear lungs"]).ids)
    assert np.abs(ours - theirs.numpy()).max() <= TOLERANCE
    assert str(tmp_path) not in (bundle.path / "bundle.json").read_text()
