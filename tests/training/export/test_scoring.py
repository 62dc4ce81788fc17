"""A model trained by sigmoid is exported and served as one: with its library's probabilities."""

import copy
import shutil

import numpy as np
import open_clip
import pytest
import torch
import transformers
from rich.console import Console
from torch import nn
from torch.nn import functional

from service.bundle.golden import Golden, golden_pixels
from service.bundle.labels import LabelSets
from service.bundle.manifest import GATE, IMAGE_TOWER, LABELS, TEXT_TOWER, TOKENIZER, load, seal
from service.bundle.preprocess import ImageSpec
from service.deadline import Deadline
from service.inference.self_test import self_test
from service.inference.session import Towers
from service.inference.zero_shot import Classifier
from service.settings import DEMO_BUNDLE
from tests.service.inference.conftest import open_encoder
from tests.training.conftest import CONTEXT, DIMENSION, NORMALISATION, SIDE, TEXT, VIT
from training.data.pairs import Pairs
from training.evaluate.compare import Disagreement, scored_alike
from training.evaluate.encode import BundleEncoder, EmbeddedPairs, TorchEncoder
from training.evaluate.evaluation import Evaluation
from training.evaluate.suite import run_suite
from training.export import export as module
from training.export.bundle import write_bundle
from training.export.export import Export
from training.export.graphs import ParityError, write_graph
from training.export.int8 import calls
from training.model.clip import Clip
from training.model.pixels import NormalisePixels
from training.model.scoring import ScoringError, scorer_of
from training.recipe import CONFIGS

pytestmark = pytest.mark.slow

PROMPTS = ("Small left effusion.", "No pneumothorax.", "Cardiomegaly.")
LABELLED = LabelSets.model_validate({"set": {text: {"present": [text]} for text in PROMPTS}})


def served(bundle, pixels):
    """The service's probabilities, [images, prompts], of prompts as labels of their own."""
    with open_encoder(bundle, cache_items=0) as encoder:
        classifier = Classifier(LABELLED.root["set"], encoder, Deadline(60))
        assert classifier.scoring == "sigmoid"
        return np.array([[f.probability for f in classifier(v)] for v in encoded(bundle, pixels)])


def encoded(bundle, pixels):
    return Towers(bundle, precision="fp32").image(pixels)


def noise(spec, count=6):
    levels = np.random.default_rng(2).integers(0, 256, (count, spec.height, spec.width))
    return levels.astype(np.uint8)


@pytest.fixture(scope="module")
def siglip(make_clip):
    return make_clip("timm-vit-siglip")


@pytest.fixture(scope="module")
def exported(siglip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip") / "bundle"
    return write_bundle(siglip, folder, name="siglip", bundle_version="1", label_sets=LABELLED)


@pytest.fixture(params=[-10.0, 0.5], ids=["as learned", "far from 0 and 1"])
def bias(request):
    return request.param


def biased(bundle, bias, tmp_path):
    """The same bundle with another bias, which no graph holds."""
    folder = shutil.copytree(bundle.path, tmp_path / "biased")
    return seal(folder, bundle.manifest.model_copy(update={"logit_bias": bias}))


def require_same(library, ours, theirs):
    """To 1e-6, and in logarithms where all are small."""
    gap = np.abs(ours - theirs).max()
    shown = f"{library}: probabilities of {theirs.min():.1e} to {theirs.max():.1e}, gap {gap:.1e}"
    Console(width=100).print(shown)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(np.log(ours), np.log(theirs), atol=1e-4)


def test_probabilities_equal_open_clips(siglip, exported, bias, tmp_path):
    assert (exported.manifest.scoring, exported.manifest.logit_bias) == ("sigmoid", -10.0)
    bundle, pixels = biased(exported, bias, tmp_path), noise(siglip.image)
    model = copy.deepcopy(siglip.model)
    model.logit_bias.data.fill_(bias)
    with torch.no_grad():
        images = NormalisePixels(NORMALISATION)(torch.from_numpy(pixels))
        logits, _ = model.get_logits(images, torch.from_numpy(siglip.tokenizer(PROMPTS).ids))
    require_same("open_clip", served(bundle, pixels), logits.sigmoid().numpy())


class Transformed(nn.Module):
    """A tower of transformers' SiglipModel: raw inputs → unit vectors."""

    def __init__(self, model, features):
        super().__init__()
        self.model, self.features = model, features
        self.normalise = NormalisePixels(NORMALISATION)

    def forward(self, inputs):
        given = self.normalise(inputs) if self.features == "get_image_features" else inputs
        answer = getattr(self.model, self.features)(given)
        return functional.normalize(getattr(answer, "pooler_output", answer), dim=-1)


@pytest.fixture(scope="module")
def transformed(tokenizer, tmp_path_factory):
    """A small SiglipModel, and its bundle."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    text = {"vocab_size": TEXT["vocab_size"], "max_position_embeddings": CONTEXT}
    size = {"image_size": SIDE, "patch_size": 16}
    heads = {"num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config=small | heads | text, vision_config=small | heads | size
    )
    model = transformers.SiglipModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.logit_scale.data.fill_(np.log(5))
    model.logit_bias.data.fill_(-10.0)
    folder = tmp_path_factory.mktemp("transformers") / "bundle"
    return model, bundle_of(model, ImageSpec(height=SIDE, width=SIDE), tokenizer, folder)


def test_probabilities_equal_those_of_transformers(transformed, tokenizer, bias, tmp_path):
    model, written = copy.deepcopy(transformed)
    assert (written.manifest.scoring, written.manifest.logit_bias) == ("sigmoid", -10.0)
    self_test(written, Towers(written), 8)
    bundle, pixels = biased(written, bias, tmp_path), noise(written.manifest.image)
    model.logit_bias.data.fill_(bias)
    with torch.no_grad():
        theirs = model(
            input_ids=torch.from_numpy(tokenizer(PROMPTS).ids),
            pixel_values=NormalisePixels(NORMALISATION)(torch.from_numpy(pixels)),
        ).logits_per_image.sigmoid()
    require_same("transformers", served(bundle, pixels), theirs.numpy())


def bundle_of(model, spec, tokenizer, directory):
    """Puts a SiglipModel's towers in the place of the demo's."""
    shutil.copytree(DEMO_BUNDLE, directory)
    (directory / GATE).unlink()
    (directory / LABELS).write_text(LABELLED.model_dump_json())
    tokenizer.save(directory / TOKENIZER)
    pixels = torch.from_numpy(noise(spec, 2))
    tokens = torch.from_numpy(tokenizer(PROMPTS[:2]).ids)
    for features, example, name, inputs in (
        ("get_image_features", pixels, IMAGE_TOWER, "pixels"),
        ("get_text_features", tokens, TEXT_TOWER, "tokens"),
    ):
        tower = Transformed(model, features)
        write_graph(tower, example, directory / name, inputs, ("embedding",))
    scorer = scorer_of(model)
    drafted = load(DEMO_BUNDLE).manifest.model_copy(
        update={
            "dimension": 32,
            "image": spec,
            "context_length": CONTEXT,
            "patch_grid": None,
            "patches": None,
            "has_attention": False,
            "map_quality": {},
            "logit_scale": scorer.scale,
            "logit_bias": scorer.bias,
            "scoring": scorer.kind,
            "image_mean": None,
        }
    )
    towers = Towers(seal(directory, drafted))
    image, text = towers.image(golden_pixels(spec))[0], towers.text(tokenizer(PROMPTS[:1]).ids)[0]
    golden = Golden.of(PROMPTS[0], image, text)
    return seal(directory, drafted.model_copy(update={"golden": golden}))


def test_the_kind_may_be_chosen_and_the_bias_stays_on_record(siglip, tmp_path):
    """A model that was trained by sigmoid is often used by softmax."""
    bundle = write_bundle(
        siglip,
        tmp_path / "b",
        name="siglip",
        bundle_version="1",
        label_sets=LABELLED,
        scoring="softmax",
    )
    assert (bundle.manifest.scoring, bundle.manifest.logit_bias) == ("softmax", -10.0)
    assert "| scoring | softmax of present against absent prompts |" in bundle.model_card


def test_a_model_without_a_bias_is_not_scored_by_sigmoid(make_clip, tmp_path, monkeypatch):
    clip = make_clip("vit")
    assert scorer_of(clip.model).kind == "softmax"
    monkeypatch.setattr("training.run.models.from_open_clip", lambda *_: clip)
    job = Export(CONFIGS / "chexpert.labels.json", scoring="sigmoid")
    with pytest.raises(ScoringError, match=r"no logit bias.*leave --scoring out"):
        job("ViT-B-32", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_calibrated_to_the_score_that_is_served(siglip, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("training.run.models.from_open_clip", lambda *_: siglip)
    monkeypatch.setattr(module, "validation_pairs", lambda *_: None)
    monkeypatch.setattr(module, "with_int8", lambda draft, *_: draft)
    monkeypatch.setattr(
        module, "calibrate_sets", lambda embedded, sets: asked.append(embedded) or (sets, {})
    )
    monkeypatch.setattr(Export, "_write", lambda self, *_: self.scoring)
    for scoring, expected in ((None, "sigmoid"), ("softmax", "softmax"), ("sigmoid", "sigmoid")):
        job = Export(CONFIGS / "chexpert.labels.json", validation=tmp_path, scoring=scoring)
        assert job("ViT-B-32", tmp_path / "b").bundle == scoring
        assert asked[-1].encoder.scorer.kind == expected


def test_the_suite_says_how_labels_were_scored_by_torch_and_by_the_bundle(siglip, exported):
    nothing = Pairs(noise(siglip.image, 0), ())
    for encoder in (TorchEncoder(siglip), BundleEncoder(exported)):
        about = run_suite(encoder, nothing, None, {}, measures=()).about
        assert about["scoring"] == "sigmoid"


def test_two_scorings_are_not_compared_and_a_run_is_scored_as_its_bundle(
    siglip, exported, tmp_path
):
    """The calibrations of one bundle hold for its own score alone."""
    old = shutil.copytree(exported.path, tmp_path / "old")
    softmax = BundleEncoder(seal(old, exported.manifest.model_copy(update={"scoring": "softmax"})))
    sigmoid, run = BundleEncoder(exported), TorchEncoder(siglip)
    assert scored_alike(sigmoid, run) == (sigmoid, run)
    assert [each.scorer.kind for each in scored_alike(run, softmax)] == ["softmax", "softmax"]
    assert [each.scorer.kind for each in scored_alike(softmax, run)] == ["softmax", "softmax"]
    job = Evaluation(tmp_path / "studies.jsonl", 0.0, ("zero_shot",))
    with pytest.raises(Disagreement, match="by sigmoid in the first and by softmax in the second"):
        job(exported.path, old)


def test_calls_of_labels_without_calibration_differ_among_images(siglip):
    """The model's own probabilities are all small, so int8 could change none of such calls."""
    labels = LabelSets.model_validate(
        {"set": {PROMPTS[0]: {"present": [PROMPTS[0]], "absent": [PROMPTS[1]]}}}
    )
    vectors = np.eye(2, DIMENSION, dtype=np.float32)

    class Fixed(TorchEncoder):
        def images(self, _):
            return 0.6 * vectors

        def texts(self, texts):
            return vectors[[PROMPTS.index(text) for text in texts]]

    encoder = Fixed(siglip)
    assert encoder.scorer.kind == "sigmoid"
    called = calls(EmbeddedPairs(encoder, Pairs(noise(siglip.image, 2), ())), labels)
    assert called.tolist() == [[True], [False]]


class Mixing(nn.Module):
    """Adds to each vector the mean over its batch."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs):
        vectors = self.inner(inputs)
        return vectors + vectors.mean(dim=0, keepdim=True)


@pytest.mark.parametrize(("tower", "file"), [("visual", IMAGE_TOWER), ("text", TEXT_TOWER)])
def test_a_model_that_mixes_a_batch_is_not_exported(tokenizer, tmp_path, tower, file):
    """ONNX gives what torch gives, and both let an image depend on the others."""
    model = open_clip.model.CustomTextCLIP(DIMENSION, VIT, TEXT).eval()
    setattr(model, tower, Mixing(getattr(model, tower)))
    clip = Clip(model, tokenizer, CONTEXT, ImageSpec(height=SIDE, width=SIDE), NORMALISATION)
    with pytest.raises(ParityError, match=rf"{file} mixes the items of a batch: among 8"):
        write_bundle(clip, tmp_path / "b", name="x", bundle_version="1", label_sets=LABELLED)
    assert list(tmp_path.iterdir()) == []
