import copy

import pytest
import torch

from tests.training.conftest import MODELS
from training.fit.objective import Contrastive
from training.model.expert_clip import ExpertCLIP, mixup, with_experts
from training.model.heatmap import HeatmapProcessor
from training.model.views import expert_pixels


@pytest.fixture
def expert_clip(make_clip):
    def make(kind="vit", published=False, **arguments):
        clip = make_clip(kind)
        torch.manual_seed(1)
        size = (clip.image.height, clip.image.width)
        processor = HeatmapProcessor(size, patch=16, width=32, heads=2, published=published)
        return ExpertCLIP(clip, processor, **arguments)

    return make


def batch_of(model, clip_tokenizer, count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    size = model.processor.grid[0] * 16
    pixels = torch.randint(0, 256, (count, size, size), generator=draw, dtype=torch.uint8)
    heatmaps = torch.rand(count, size, size, generator=draw)
    texts = [f"Report number {index + 100 * seed}." for index in range(count)]
    return pixels, heatmaps, torch.from_numpy(clip_tokenizer(texts).ids)


def loss_of(model, pixels, tokens):
    objective = Contrastive(model.model)
    return objective(model.images(pixels), model.texts(tokens), model.model)


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_mixup_is_the_weighted_mean_of_image_and_expert():
    pixels, experts = torch.full((3, 2, 2), 100.0), torch.full((3, 2, 2), 20.0)
    mixed = mixup(pixels, experts, torch.tensor([1.0, 0.0, 0.25]))
    torch.testing.assert_close(mixed[:, 0, 0], torch.tensor([100.0, 20.0, 40.0]))


def test_the_published_processor_works_on_the_towers_own_input(expert_clip, tokenizer):
    model = expert_clip(published=True)
    pixels, heatmaps, _ = batch_of(model, tokenizer, 3)
    images = model.normalise(pixels)
    assert torch.equal(model.processor_input(pixels), images)
    experts = model.experts(pixels, heatmaps)
    assert experts.shape == (3, 3, 64, 64)
    torch.testing.assert_close(
        model.normalise(experts), model.processor(images, heatmaps), atol=1e-5, rtol=1e-5
    )
    mixed = mixup(pixels, experts, torch.tensor([1.0, 0.0, 0.5]))
    torch.testing.assert_close(mixed[0], pixels[0].float().expand(3, -1, -1))
    torch.testing.assert_close(mixed[1], experts[1])
    torch.testing.assert_close(mixed[2], (pixels[2] + experts[2]) / 2)
    both = with_experts(pixels, mixed)
    assert both.shape == (6, 3, 64, 64)
    torch.testing.assert_close(model.images(both)[:3], model.images(pixels))


@pytest.mark.parametrize("kind", MODELS)
def test_with_nothing_but_the_original_it_is_clip_on_the_joined_batch(expert_clip, tokenizer, kind):
    """λ = 1: the same loss, the same gradients, and none for the processor."""
    model = expert_clip(kind)
    pixels, _, tokens = batch_of(model, tokenizer, 3)
    drawn, heatmaps, words = batch_of(model, tokenizer, 2, seed=1)
    experts = expert_pixels("processed", model, drawn, heatmaps, torch.ones(2))
    joined = torch.cat([tokens, words])
    loss = loss_of(model, torch.cat([pixels.float(), experts]), joined)
    loss.backward()
    with_experts = gradients(model)
    model.zero_grad()
    plain = loss_of(model, torch.cat([pixels, drawn]), joined)
    plain.backward()
    assert loss.item() == plain.item()
    for name, gradient in gradients(model).items():
        assert torch.equal(gradient, with_experts[name]), name
    for name, gradient in with_experts.items():
        assert not name.startswith("processor.") or not gradient.any()


@pytest.mark.parametrize("published", [False, True])
def test_what_is_not_original_teaches_the_processor(expert_clip, tokenizer, published):
    model = expert_clip(published=published)
    drawn, heatmaps, tokens = batch_of(model, tokenizer, 3)
    mixed = expert_pixels("processed", model, drawn, heatmaps, torch.full((3,), 0.5))
    loss_of(model, mixed, tokens).backward()
    assert all(p.grad.any() for n, p in model.processor.named_parameters() if "bias" not in n)


@pytest.mark.parametrize("kind", ["vit", "timm-vit-siglip"])
@pytest.mark.parametrize("part", [1, 3, 4])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(expert_clip, tokenizer, kind, part):
    whole, parts = expert_clip(kind), expert_clip(kind, part=part)
    parts.load_state_dict(copy.deepcopy(whole.state_dict()))
    pixels, _, tokens = batch_of(whole, tokenizer, 8)
    losses = []
    for model in (whole, parts):
        loss = loss_of(model, pixels, tokens)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    in_parts = gradients(parts)
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(in_parts[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("part", [None, 3])
def test_where_the_tower_looks_is_read_beside_the_same_vectors(expert_clip, tokenizer, part):
    model = expert_clip(part=part)
    pixels, _, _ = batch_of(model, tokenizer, 8)
    vectors, attention = model.attended(pixels)
    torch.testing.assert_close(vectors, model.images(pixels))
    assert attention.shape[0] == 8
    torch.testing.assert_close(attention.exp().sum(dim=(2, 3)), torch.ones(attention.shape[:2]))
    attention.mean().backward()
    assert model.model.visual.conv1.weight.grad.any()


def test_a_model_without_processor_cannot_make_experts(make_clip):
    with pytest.raises(ValueError, match="without a heatmap processor"):
        ExpertCLIP(make_clip("vit")).experts(torch.zeros(1, 64, 64), torch.zeros(1, 64, 64))
