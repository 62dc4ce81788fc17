import numpy as np
import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.training.conftest import DIMENSION, MODELS, TEXT, VIT
from training.model.attention import PoolingAttention, attention_loss
from training.model.pooling import NoPoolingAttention

ATTENDING = {"vit": (4, 4), "vit-attention-pooling": (4, 4), "timm-vit": (10, 10)}


def tower(kind):
    torch.manual_seed(0)
    model = class_token_timm() if kind == "timm-vit" else MODELS[kind]()
    return model.visual.eval()


def class_token_timm():
    vision = {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "token",
        "timm_proj": "linear",
    }
    return open_clip.model.CustomTextCLIP(DIMENSION, vision, TEXT)


def images(kind):
    side = 160 if kind == "timm-vit" else 64
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))


def attention_of_torch(visual, pixels):
    """What the pooling attention itself computes: float[N,heads,keys] of the first query."""
    found = {}
    if hasattr(visual, "trunk"):
        module = visual.trunk.blocks[-1].attn
        module.fused_attn = False
        hook = module.attn_drop.register_forward_pre_hook(
            lambda _, inputs: found.update(attention=inputs[0][:, :, 0])
        )
    else:
        last = visual.transformer.resblocks[-1] if visual.attn_pool is None else visual.attn_pool
        hook = last.attn.register_forward_pre_hook(
            lambda module, inputs: found.update(
                attention=nn.MultiheadAttention.forward.__get__(module)(
                    *inputs, need_weights=True, average_attn_weights=False
                )[1][:, :, 0]
            )
        )
    visual(pixels)
    hook.remove()
    return found["attention"]


@pytest.mark.parametrize(("kind", "grid"), ATTENDING.items())
@torch.no_grad()
def test_what_is_read_is_the_towers_own_attention_among_its_patches(kind, grid):
    visual, pixels = tower(kind), images(kind)
    pooled, log_attention = PoolingAttention(visual)(pixels)
    torch.testing.assert_close(pooled, visual(pixels))
    assert log_attention.shape[2:] == grid
    own = attention_of_torch(visual, pixels)[..., -grid[0] * grid[1] :]
    own = own / own.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(log_attention.exp().flatten(2), own, atol=1e-6, rtol=1e-4)


def test_no_hook_stays_on_the_tower():
    visual = tower("vit")
    PoolingAttention(visual)(images("vit"))
    assert not any(module._forward_pre_hooks for module in visual.modules())


@pytest.mark.parametrize("kind", ["vit-mean-pooling", "timm-convnext"])
def test_a_tower_that_pools_without_attention_is_refused(kind):
    with pytest.raises(NoPoolingAttention, match="class token or an attention pooler"):
        PoolingAttention(tower(kind))


@pytest.mark.parametrize("changed", [{"output_tokens": True}, {"patch_dropout": 0.5}])
def test_a_tower_whose_patches_cannot_be_placed_is_refused(changed):
    visual = open_clip.CLIP(DIMENSION, VIT | changed, TEXT).visual
    with pytest.raises(NoPoolingAttention):
        PoolingAttention(visual)


def test_a_transformer_that_turns_its_keys_is_refused():
    vision = {
        "image_size": 224,
        "timm_model_name": "eva02_tiny_patch14_224",
        "timm_model_pretrained": False,
        "timm_pool": "token",
        "timm_proj": "linear",
    }
    with pytest.raises(NoPoolingAttention):
        PoolingAttention(open_clip.model.CustomTextCLIP(DIMENSION, vision, TEXT).visual)


def test_the_loss_is_nothing_where_every_head_looks_as_the_reader_did():
    gaze = torch.rand(2, 8, 8) + 0.1
    share = functional.avg_pool2d(gaze[:, None], 2)
    share = share / share.sum(dim=(2, 3), keepdim=True)
    assert attention_loss(share.expand(2, 3, 4, 4).log(), gaze).item() == pytest.approx(0, abs=1e-6)


def test_the_loss_is_the_divergence_of_gaze_from_attention():
    gaze = np.array([[0.75, 0.25], [0.0, 0.0]])
    attention = np.array([[0.5, 0.25], [0.125, 0.125]])
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.25)
    log_attention = torch.tensor(attention).log().view(1, 1, 2, 2)
    loss = attention_loss(log_attention, torch.tensor(gaze).view(1, 2, 2))
    assert loss.item() == pytest.approx(expected)


def test_a_sample_without_gaze_adds_nothing():
    log_attention = torch.randn(2, 1, 4).log_softmax(-1).view(2, 1, 2, 2)
    gaze = torch.rand(2, 4, 4)
    gaze[1] = 0
    both, one = attention_loss(log_attention, gaze), attention_loss(log_attention[:1], gaze[:1])
    assert both.item() == pytest.approx(one.item() / 2)


def test_guiding_attention_moves_it_towards_the_gaze():
    visual, pixels = tower("vit"), images("vit")
    gaze = torch.zeros(3, 64, 64)
    gaze[:, 32:, 32:] = 1
    optimiser = torch.optim.Adam(visual.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = attention_loss(PoolingAttention(visual)(pixels)[1], gaze)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
