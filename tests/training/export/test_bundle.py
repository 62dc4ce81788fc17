import json
import shutil

import numpy as np
import onnx
import onnxruntime
import open_clip
import pytest
import tokenizers
import torch
import transformers
from open_clip.transform import image_transform
from PIL import Image

from service.bundle.manifest import IMAGE_TOWER, TEXT_TOWER, load
from service.bundle.preprocess import ImageSpec, preprocess
from tests.support.drafts import leave_drafts
from tests.training.conftest import AVERAGING, GRIDS, MODELS, NORMALISATION
from training.evaluate.result import Estimate, Measurement, Result
from training.export import graphs
from training.export.bundle import annotate, make_room, write_bundle
from training.export.graphs import CHECKED_BATCHES, TOLERANCE, ParityError, check_parity
from training.model.clip import WeightsIgnored, from_open_clip
from training.model.towers import ImageTower

pytestmark = pytest.mark.slow

TEXTS = ["Small left effusion.", "No pneumothorax.", "Cardiomegaly."] * 3


@pytest.fixture(scope="module", params=MODELS)
def exported(request, make_clip, label_sets, tmp_path_factory):
    clip = make_clip(request.param)
    directory = tmp_path_factory.mktemp(request.param) / "bundle"
    bundle = write_bundle(clip, directory, name="tiny", bundle_version="1", label_sets=label_sets)
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


def test_the_graphs_name_no_folder_of_this_machine(exported):
    *_, bundle = exported
    for tower in (IMAGE_TOWER, TEXT_TOWER):
        assert b'File "/' not in (bundle.path / tower).read_bytes()


def test_maps_come_out_where_the_tower_has_them(exported):
    kind, clip, bundle = exported
    manifest, grid = bundle.manifest, GRIDS[kind]
    averaging = kind in AVERAGING
    assert manifest.patch_grid == grid
    assert manifest.has_attention is not averaging
    assert manifest.patches == ("class_activation" if averaging else "value_path")
    session = onnxruntime.InferenceSession(bundle.path / IMAGE_TOWER)
    names = [output.name for output in session.get_outputs()]
    pixels = np.stack([np.asarray(p.resize((clip.image.width,) * 2)) for p in pictures(clip, 2)])
    answers = dict(zip(names, session.run(None, {"pixels": pixels}), strict=True))
    assert answers["patches"].shape == (2, *grid, manifest.dimension)
    if averaging:
        total = answers["patches"].sum(axis=(1, 2))
        np.testing.assert_allclose(total, answers["embedding"], atol=1e-5)
        assert "attention" not in names
    else:
        np.testing.assert_allclose(answers["attention"].sum(axis=(1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("batch", CHECKED_BATCHES)
def test_maps_equal_those_of_torch(exported, batch):
    """`attention` and `patches`, number by number."""
    _, clip, bundle = exported
    pixels = np.stack(
        [np.asarray(p.resize((clip.image.width,) * 2)) for p in pictures(clip, batch)]
    )
    tower = ImageTower(clip).eval()
    with torch.no_grad():
        theirs = dict(zip(tower.outputs, tower(torch.from_numpy(pixels)), strict=True))
    maps = [name for name in ("attention", "patches") if name in theirs]
    session = onnxruntime.InferenceSession(bundle.path / IMAGE_TOWER)
    assert maps
    for name, ours in zip(maps, session.run(maps, {"pixels": pixels}), strict=True):
        assert np.abs(ours - theirs[name].numpy()).max() <= 1e-4, name


def test_maps_are_compared_image_by_image():
    """A small map next to a large one counts as much, and no number may be off by more."""
    reference = np.ones((2, 3, 3), np.float32) * np.float32([5, 0.001])[:, None, None]
    for image, off, expected in ((0, 0.5, 0.5), (1, 0.0005, 0.5)):
        ours = reference.copy()
        ours[image, 1, 1] += off
        assert graphs.difference(ours, reference) == pytest.approx(expected, rel=1e-3)
    assert graphs.difference(reference[0] + 0.5, reference[0]) == 0.5


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

    write = graphs.write_graph
    monkeypatch.setattr(graphs, "write_graph", written_wrong)
    with pytest.raises(ParityError, match=r"differs from torch by .* at batch 1"):
        write_bundle(
            make_clip("vit"), tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets
        )
    assert list(tmp_path.iterdir()) == []


def test_a_tower_that_no_onnx_file_holds_is_refused(make_clip, label_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "LARGEST_FILE", 100)
    with pytest.raises(graphs.GraphTooLarge, match=r"image\.onnx would have .* GB of weights"):
        write_bundle(
            make_clip("vit"), tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets
        )
    assert list(tmp_path.iterdir()) == []


def test_an_export_removes_what_killed_ones_left(tmp_path):
    leave_drafts(tmp_path / "b")
    make_room(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_never_overwritten(make_clip, label_sets, tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError, match="immutable"):
        write_bundle(
            make_clip("vit"), tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets
        )


@pytest.mark.parametrize("tower", [IMAGE_TOWER, TEXT_TOWER])
@pytest.mark.parametrize("amount", [0.1, np.nan])
def test_altered_weights_in_either_graph_are_noticed(exported, tmp_path, tower, amount):
    _, clip, bundle = exported
    draft = shutil.copytree(bundle.path, tmp_path / "draft")
    check_parity(clip, draft)
    model = onnx.load(draft / tower)
    rng = np.random.default_rng(0)
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.ndim > 1:
            values = values + amount * rng.normal(size=values.shape).astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(np.float32(values), weight.name))
    onnx.save(model, draft / tower)
    with pytest.raises(ParityError, match=f"{tower} differs from torch"):
        check_parity(clip, draft)


def test_rankings_differ_only_where_scores_can_be_told_apart():
    reference = np.array([[0.9, 0.5, 0.499999, 0.1]], dtype=np.float32)
    tied = np.array([[0.9, 0.4999, 0.5, 0.1]], dtype=np.float32)
    swapped = np.array([[0.5, 0.9, 0.4, 0.1]], dtype=np.float32)
    assert graphs.same_ranking(tied, reference)
    assert not graphs.same_ranking(swapped, reference)


def test_annotating_changes_the_words_and_not_the_towers(exported, label_sets, tmp_path):
    *_, bundle = exported
    section = Measurement({"auroc": Estimate(value=0.75, n=9, low=0.7, high=0.8, chance=0.5)})
    result = Result({}, {"zero_shot": section})
    annotated = annotate(bundle, tmp_path / "annotated", label_sets, result)
    before, after = bundle.manifest, load(tmp_path / "annotated").manifest
    assert after == annotated.manifest
    assert after.id != before.id
    assert after.files[IMAGE_TOWER] == before.files[IMAGE_TOWER]
    assert after.metrics == {"auroc": 0.75}
    assert "| auroc | 0.750 | 0.700 – 0.800 | 0.500 | 9 |" in annotated.model_card


def test_an_open_clip_folder_with_a_checkpoint_is_exported(label_sets, tmp_path):
    """What `hf-hub:` downloads, a `local-dir:` holds: a config, weights, a tokenizer choice."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    model = save_folder(tmp_path / "model", VISION, text, resize_mode="squash")
    clip = from_open_clip(f"local-dir:{tmp_path / 'model'}")
    bundle = write_bundle(clip, tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets)
    assert bundle.manifest.image.fit == "squash"
    assert bundle.manifest.context_length == 77
    with torch.no_grad():
        theirs = model.encode_text(
            open_clip.get_tokenizer("ViT-B-32")(["clear lungs"]), normalize=True
        )
    ours = run(bundle, TEXT_TOWER, "tokens", bundle.tokenizer(["clear lungs"]).ids)
    assert np.abs(ours - theirs.numpy()).max() <= TOLERANCE
    assert str(tmp_path) not in (bundle.path / "bundle.json").read_text()


VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}


def save_folder(folder, vision, text, **preprocess):
    """A model with random weights, laid out as on the Hugging Face hub; returns the model."""
    config = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3} | preprocess,
    }
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    kind = open_clip.model.CustomTextCLIP if "hf_model_name" in text else open_clip.CLIP
    model = kind(16, vision, text).eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return model


def save_bert(folder):
    """A tiny BERT's config and tokenizer."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "clear", "lungs", "effusion", "left", "."]
    backend = tokenizers.BertWordPieceTokenizer({word: i for i, word in enumerate(words)})
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend._tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    ).save_pretrained(folder)


def test_a_model_with_a_hugging_face_text_tower_is_exported(label_sets, tmp_path):
    """As BiomedCLIP is built."""
    save_bert(tmp_path / "bert")
    save_bert(tmp_path / "model")
    text = {
        "hf_model_name": str(tmp_path / "bert"),
        "hf_tokenizer_name": str(tmp_path / "bert"),
        "hf_model_pretrained": False,
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "hf_proj_type": "mlp",
        "context_length": 24,
    }
    model = save_folder(tmp_path / "model", VISION, text)
    name = f"local-dir:{tmp_path / 'model'}"
    bundle = write_bundle(
        from_open_clip(name), tmp_path / "b", name="x", bundle_version="1", label_sets=label_sets
    )
    texts = ["Clear lungs.", "left effusion " * 30, "", "unseen"]
    with torch.no_grad():
        theirs = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True).numpy()
    ours = run(bundle, TEXT_TOWER, "tokens", bundle.tokenizer(texts).ids)
    assert np.abs(ours - theirs).max() <= TOLERANCE
    assert str(tmp_path) not in (bundle.path / "bundle.json").read_text()


def test_a_checkpoint_gives_a_built_in_config_its_weights(tmp_path):
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text}
    (tmp_path / "tiny-built-in.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    model = open_clip.CLIP(**config)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pt")
    clip = from_open_clip("tiny-built-in", str(tmp_path / "weights.pt"))
    assert torch.equal(clip.model.visual.proj, model.visual.proj)
    assert clip.provenance == {"open_clip_model": "tiny-built-in", "pretrained": "weights.pt"}
    assert clip.image == ImageSpec(height=32, width=32)


@pytest.mark.parametrize("name", ["local-dir:folder", "hf-hub:org/model"])
def test_weights_that_open_clip_would_ignore_are_refused(name):
    with pytest.raises(WeightsIgnored, match="its own weights"):
        from_open_clip(name, "weights.pt")
