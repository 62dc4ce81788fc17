"""What is read of each kind of tower, against what the tower itself computes."""

import open_clip
import pytest
import torch
import transformers
from open_clip.timm_model import TimmModel

from tests.training.conftest import DIMENSION, TEXT, VIT, resnet, timm, vit
from tests.training.published import TOWER, VISION
from training.model.attention import PoolingAttention
from training.model.patches import AttentionReader, MeanReader, reader
from training.model.transformers_model import Visual

DINOV2 = transformers.Dinov2Config(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=96,
    patch_size=16,
    layerscale_value=0.5,
)


def of_transformers(model):
    return Visual(model, (64, 64))


ATTENDING = {
    "class token": lambda: vit(layers=2).visual,
    "class token, scaled": lambda: vit(ls_init_value=0.5).visual,
    "attention pooler": lambda: vit(attentional_pool=True, attn_pooler_heads=2).visual,
    "attention pooler, with tokens": lambda: (
        vit(attentional_pool=True, attn_pooler_heads=2, output_tokens=True).visual
    ),
    "timm class token": lambda: timm("test_vit", "token").visual,
    "timm latent (SigLIP)": lambda: TimmModel("test_vit", 64, 160, pool="map", proj=""),
    "timm latent, which reads a class token too": lambda: TimmModel(
        "test_vit3", 96, 160, pool="map", proj="none"
    ),
    "ResNet of open_clip": lambda: resnet().visual,
    "transformers CLIP": lambda: of_transformers(
        transformers.CLIPModel(
            transformers.CLIPConfig(
                vision_config=VISION | {"num_hidden_layers": 2}, text_config=TOWER
            )
        )
    ),
    "transformers SigLIP": lambda: of_transformers(
        transformers.SiglipModel(transformers.SiglipConfig(vision_config=VISION, text_config=TOWER))
    ),
    "transformers DINOv2, scaled": lambda: of_transformers(transformers.Dinov2Model(DINOV2)),
    "transformers ViT": lambda: of_transformers(
        transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=False)
    ),
    "dual encoder of DINOv2": lambda: of_transformers(
        transformers.VisionTextDualEncoderModel(
            transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
                DINOV2, transformers.BertConfig(**TOWER), projection_dim=24
            )
        )
    ),
}
AVERAGING = {
    "mean": lambda: vit(pool_type="avg").visual,
    "mean, then norm": lambda: vit(pool_type="avg", final_ln_after_pool=True).visual,
    "timm mean": lambda: timm("test_vit", "avg").visual,
    "timm mean, then norm": lambda: timm("test_vit2").visual,
    "timm ConvNeXt": lambda: timm("test_convnext").visual,
    "timm ResNet": lambda: timm("test_resnet").visual,
}


def tower(make):
    torch.manual_seed(0)
    visual = make().eval()
    for parameter in visual.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # so that each bias and norm counts
    return visual


def images(visual):
    side = 160 if isinstance(visual, TimmModel) else 64
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ATTENDING)
@torch.no_grad()
def test_attention_adds_up_and_the_tower_answers_as_before(kind):
    visual = tower(ATTENDING[kind])
    read, pixels = reader(visual), images(visual)
    pooled, attention, patches = read(pixels)
    assert isinstance(read, AttentionReader)
    assert read.kind == "value_path"
    answer = visual(pixels)
    torch.testing.assert_close(pooled, answer[0] if isinstance(answer, tuple) else answer)
    torch.testing.assert_close(attention.sum((1, 2)), torch.ones(3))
    assert patches.shape == (*attention.shape, pooled.shape[1])


@pytest.mark.parametrize("kind", sorted(set(ATTENDING) - {"attention pooler, with tokens"}))
@torch.no_grad()
def test_a_patch_has_the_value_that_attention_takes_from_it(kind):
    """The module's own answer is the values of all keys, weighted by all of its attention."""
    visual = tower(ATTENDING[kind])
    attention = PoolingAttention(visual)
    pooler, answers = attention.pooler, []
    hook = pooler.module.register_forward_hook(lambda _, __, answer: answers.append(answer))
    look = attention.look(images(visual))
    hook.remove()
    weights = pooler.logits(look.inputs).softmax(dim=-1).unsqueeze(-1)
    added = (weights * pooler.values(look.inputs)).sum(dim=2).flatten(1) @ pooler.output.T
    answer = answers[0][0] if isinstance(answers[0], tuple) else answers[0]
    answer = answer if answer.ndim == 2 else answer[:, 0]
    if "timm latent" in kind:
        added = added + pooler.module.proj.bias
        added = added + pooler.module.mlp(pooler.module.norm(added))
        torch.testing.assert_close(added, answer)
    else:  # but for the bias of the output
        torch.testing.assert_close((added - answer).std(dim=0), torch.zeros(answer.shape[1]))


@pytest.mark.parametrize("kind", ["class token", "class token, scaled", "attention pooler"])
@torch.no_grad()
def test_patches_and_what_is_no_patch_are_all_of_the_embedding(kind):
    """The rest is the first key, the class token of layers before, the last MLP and biases."""
    visual = tower(ATTENDING[kind])
    pooled, _, patches = reader(visual)(images(visual))
    of_patches, end = of_keys(visual, slice(1, None))
    if visual.attn_pool is None:
        of_patches = visual.transformer.resblocks[-1].ls_1(of_patches)
    norm, rest = visual.ln_post, end - of_patches
    deviation = (end.var(dim=-1, correction=0, keepdim=True) + norm.eps).sqrt()
    rest = (rest - rest.mean(dim=-1, keepdim=True)) / deviation * norm.weight + norm.bias
    torch.testing.assert_close(patches.sum((1, 2)) + rest @ visual.proj, pooled)


@torch.no_grad()
def test_patches_and_their_mean_are_all_of_what_the_resnet_answers():
    visual = tower(ATTENDING["ResNet of open_clip"])
    pooled, _, patches = reader(visual)(images(visual))
    of_mean, _ = of_keys(visual, slice(1))
    torch.testing.assert_close(patches.sum((1, 2)) + of_mean + visual.attnpool.c_proj.bias, pooled)


def of_keys(visual, keys):
    """What the pooling attention adds of some keys, float[N,C], and the token that is pooled."""
    attention = PoolingAttention(visual)
    look, pooler = attention.look(images(visual)), attention.pooler
    weights = pooler.logits(look.inputs).softmax(dim=-1).unsqueeze(-1)
    weighted = (weights * pooler.values(look.inputs))[:, :, keys].sum(dim=2)
    return weighted.flatten(1) @ pooler.output.T, look.end


@pytest.mark.parametrize("kind", AVERAGING)
@torch.no_grad()
def test_where_features_are_averaged_the_patches_are_all_of_the_embedding(kind):
    visual = tower(AVERAGING[kind])
    read, pixels = reader(visual), images(visual)
    pooled, attention, patches = read(pixels)
    assert isinstance(read, MeanReader)
    assert (read.kind, attention) == ("class_activation", None)
    torch.testing.assert_close(pooled, visual(pixels))
    torch.testing.assert_close(patches.sum((1, 2)), pooled)


@pytest.mark.parametrize(
    "make",
    [
        lambda: timm("test_convnext", "max").visual,
        lambda: open_clip.CLIP(DIMENSION, VIT | {"patch_dropout": 0.5}, TEXT).visual,
        lambda: (
            open_clip.CLIP(DIMENSION, VIT | {"pool_type": "avg", "patch_dropout": 0.5}, TEXT).visual
        ),
    ],
    ids=["maximum", "dropped patches", "mean of what is not dropped"],
)
def test_a_tower_that_does_not_add_up_its_patches_has_no_maps(make):
    assert reader(make()) is None


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("deit_tiny_distilled_patch16_224", "token"),
        ("vit_small_patch16_18x2_224", "token"),
        ("vit_base_patch16_xp_224", "token"),
        ("vgg11", "avg"),
    ],
    ids=["two class tokens", "many attentions a block", "attention in its block", "dense layers"],
)
def test_a_relative_of_a_tower_that_is_read_has_no_maps(name, pool):
    """They look like towers of timm that are read, and pool in another way."""
    with torch.device("meta"):  # without weights, of which they have many
        assert reader(TimmModel(name, DIMENSION, 224, pool=pool)) is None


def test_behind_a_projection_that_is_not_linear_there_is_attention_alone():
    visual = TimmModel("test_vit", 32, 160, pool="token", proj="mlp").eval()
    with torch.no_grad():
        _, attention, patches = reader(visual)(images(visual))
    assert attention.shape == (3, 10, 10)
    assert patches is None


def test_reading_leaves_the_tower_as_it_was():
    visual = tower(ATTENDING["attention pooler, with tokens"])
    reader(visual)(images(visual))
    assert visual.output_tokens
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in visual.modules())
