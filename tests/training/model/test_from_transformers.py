"""Which models of transformers are taken, and what is said of the others."""

import json

import numpy as np
import pytest
import torch
import transformers

from service.bundle.preprocess import ImageSpec
from tests.training import published
from training.model.from_transformers import UnsupportedModel, from_transformers
from training.model.processor import UnsupportedProcessor
from training.model.tokenizer import PROBES, TokenizerMismatch
from training.model.tokenizer import from_transformers as convert_tokenizer

RADIOGRAPHS = [np.linspace(0, 255, 96 * 80).reshape(96, 80).astype(np.uint8)]


def change(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


@pytest.fixture
def dual_encoder(tmp_path):
    published.dual_encoder(tmp_path)
    return tmp_path


def refused(folder, error, words):
    with pytest.raises(error, match=words):
        from_transformers(str(folder), RADIOGRAPHS)


@pytest.mark.parametrize("kind", ["clipseg", "clip_vision_model", "blip"])
def test_another_class_is_refused_with_those_that_are_taken(kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    refused(tmp_path, UnsupportedModel, f"type '{kind}' .* CLIPModel, SiglipModel, .*, ViTModel")


def test_a_class_that_the_library_lacks_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of-ones-own"}))
    refused(tmp_path, UnsupportedModel, "does not know this model's part for AutoConfig")


def test_a_processor_that_the_library_lacks_is_refused(tmp_path):
    published.vit(tmp_path)
    change(tmp_path / "preprocessor_config.json", image_processor_type="OfOnesOwn")
    change(tmp_path / "config.json", model_type="vit", image_processor_type="OfOnesOwn")
    code = {"AutoImageProcessor": "code.OfOnesOwn"}
    change(tmp_path / "preprocessor_config.json", auto_map=code)
    refused(tmp_path, UnsupportedModel, "does not know this model's part for AutoImageProcessor")


def test_a_weight_of_training_alone_may_be_missing(tmp_path):
    published.dinov2(tmp_path)
    model = transformers.Dinov2Model.from_pretrained(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if "mask" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    assert from_transformers(str(tmp_path), RADIOGRAPHS).provenance["transformers_class"]


def test_a_siglip_2_of_any_shape_is_refused_with_the_reason(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    refused(tmp_path, UnsupportedModel, "NaFlex.* fixed resolution")


def test_weights_that_the_library_would_draw_are_refused(tmp_path):
    published.vit(tmp_path)
    vision = transformers.ViTForImageClassification.from_pretrained(tmp_path)
    state = {name: value for name, value in vision.state_dict().items() if "layernorm" not in name}
    vision.save_pretrained(tmp_path, state_dict=state)
    refused(tmp_path, UnsupportedModel, r"lacks \d+ weights of ViTModel")


def test_weights_of_another_shape_than_the_config_says_are_refused(tmp_path):
    published.clip(tmp_path)
    change(tmp_path / "config.json", projection_dim=512)
    refused(tmp_path, UnsupportedModel, r"text_projection.weight is 24×32, .* 512×32")


def test_weights_that_came_incomplete_are_refused(tmp_path):
    published.vit(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(tmp_path, UnsupportedModel, "cannot read the weights")


def test_an_image_tower_without_a_pooler_is_refused(tmp_path):
    published.siglip(tmp_path)
    config = transformers.SiglipConfig.from_pretrained(tmp_path)
    config.vision_config.vision_use_head = False
    published.save(transformers.SiglipModel(config), tmp_path)
    refused(tmp_path, UnsupportedModel, "^the model was published without its pooling layer")


def test_a_token_that_the_text_tower_lacks_is_refused(dual_encoder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(dual_encoder)
    tokenizer.add_tokens(["silhouette sign"])
    tokenizer.save_pretrained(dual_encoder)
    refused(dual_encoder, UnsupportedModel, "'silhouette sign'")


def test_a_classifier_gives_its_class_token(tmp_path):
    """It has no pooler, which transformers would draw at random."""
    published.vit(tmp_path)
    classifier = transformers.ViTForImageClassification.from_pretrained(tmp_path)
    classifier.save_pretrained(tmp_path)
    clip = from_transformers(str(tmp_path), RADIOGRAPHS)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        theirs = classifier.vit(images).last_hidden_state[:, 0]
        torch.testing.assert_close(clip.model.encode_image(images), theirs)
    assert clip.provenance["image_vector"] == "class token"


def test_images_of_another_size_than_the_towers_are_refused(tmp_path):
    published.vit(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    refused(tmp_path, UnsupportedModel, r"does not fit .*32×32 pixels")


def test_a_processor_that_a_bundle_cannot_follow_is_refused(tmp_path):
    published.vit(tmp_path)
    change(tmp_path / "preprocessor_config.json", do_resize=False)
    refused(tmp_path, UnsupportedProcessor, "do_resize=False")


def test_settings_in_the_files_of_a_whole_processor_are_read(dual_encoder):
    """processor_config.json, as transformers 5 writes it."""
    path = dual_encoder / "preprocessor_config.json"
    transformers.AutoProcessor.from_pretrained(dual_encoder).save_pretrained(dual_encoder)
    path.unlink(missing_ok=True)
    clip = from_transformers(str(dual_encoder), RADIOGRAPHS)
    side = published.SIDE
    assert clip.image == ImageSpec(
        height=side, width=side, fit="squash", interpolation="bilinear", odd_margin="down"
    )


def test_the_layout_of_older_checkpoints_is_read(tmp_path):
    """As openai/clip-vit-base-patch32 has it: numbers as sizes, two files of tokens, a pickle."""
    published.clip(tmp_path)
    newer = from_transformers(str(tmp_path), RADIOGRAPHS)
    weights = newer.model.visual.model.state_dict()
    torch.save(
        {name: value.clone() for name, value in weights.items()}, tmp_path / "pytorch_model.bin"
    )
    (tmp_path / "model.safetensors").unlink()
    words = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(words["vocab"]))
    merges = ["#version: 0.2", *(" ".join(pair) for pair in words["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(merges))
    (tmp_path / "tokenizer.json").unlink()
    settings = {
        "crop_size": 64,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": newer.normalisation.mean,
        "image_std": newer.normalisation.std,
        "resample": 3,
        "size": 64,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    older = from_transformers(str(tmp_path), RADIOGRAPHS)
    assert (older.image, older.normalisation) == (newer.image, newer.normalisation)
    np.testing.assert_array_equal(older.tokenizer(PROBES).ids, newer.tokenizer(PROBES).ids)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(older.model.encode_image(images), newer.model.encode_image(images))


def test_texts_are_never_longer_than_the_tower_reads(dual_encoder):
    change(dual_encoder / "tokenizer_config.json", model_max_length=10**30)
    assert from_transformers(str(dual_encoder), RADIOGRAPHS).context_length == 64


def test_a_mask_that_would_hide_the_end_of_a_text_is_refused(dual_encoder):
    change(dual_encoder / "tokenizer_config.json", pad_token="[SEP]")
    refused(dual_encoder, UnsupportedModel, r"'\[SEP\]' both pads a text and ends it")


def test_padding_before_a_text_is_refused(dual_encoder):
    change(dual_encoder / "tokenizer_config.json", padding_side="left")
    refused(dual_encoder, TokenizerMismatch, "set padding_side to right")


def test_a_text_tower_without_a_pooler_is_refused(tmp_path):
    published.dual_encoder(tmp_path)
    text = transformers.DistilBertConfig(dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**published.VISION), text, projection_dim=24
    )
    published.save(transformers.VisionTextDualEncoderModel(config), tmp_path)
    refused(tmp_path, UnsupportedModel, "pooler_output")


@pytest.mark.parametrize("kind", ["SigLIP", "SigLIP 2", "CLIP", "dual encoder"])
@pytest.mark.parametrize("length", [8, 64])
def test_odd_texts_have_the_librarys_tokens(kind, length, tmp_path):
    published.PUBLISHED[kind](tmp_path)
    original = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [
        *PROBES,
        "",
        " ",
        "- clear",
        "▁_▁",
        "a\u200bb\u00a0c",
        "№ ½ ß İ",
        "胸部 😀",
        "...",
        "--- .",
    ]
    theirs = original(texts, padding="max_length", truncation=True, max_length=length)["input_ids"]
    np.testing.assert_array_equal(convert_tokenizer(original, length)(texts).ids, theirs)


def keeps_capitals(folder):
    one, two = from_transformers(str(folder), RADIOGRAPHS).tokenizer(["No Mass", "no mass"]).ids
    return not np.array_equal(one, two)


def test_a_siglip_2_that_keeps_capitals_is_exported_with_a_warning(tmp_path, caplog):
    """Those of a fixed resolution were published with Gemma's tokenizer."""
    published.siglip(tmp_path / "1")
    published.siglip2(tmp_path / "2")
    assert not keeps_capitals(tmp_path / "1")
    assert not caplog.messages
    assert keeps_capitals(tmp_path / "2")
    assert "trained on lower-case texts" in caplog.text
    caplog.clear()
    change(tmp_path / "2" / "tokenizer_config.json", tokenizer_class="Siglip2Tokenizer")
    assert not keeps_capitals(tmp_path / "2")
    assert not caplog.messages
