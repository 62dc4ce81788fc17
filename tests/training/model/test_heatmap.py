import numpy as np
import pytest
import torch

from training.data.phantom import PhantomConfig, phantom
from training.fit.objective import priming_loss
from training.model.heatmap import HeatmapProcessor, normalised, over_the_batch

SIZE = (32, 48)


def processor(**changes):
    torch.manual_seed(0)
    return HeatmapProcessor(SIZE, **{"patch": 8, "width": 32, "heads": 2} | changes)


@pytest.fixture
def levels():
    return torch.rand(4, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def heatmaps():
    return torch.rand(4, *SIZE, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("residual", [True, False])
def test_an_expert_image_is_as_large_as_the_image(levels, heatmaps, residual):
    assert processor(residual=residual)(levels, heatmaps).shape == levels.shape


def test_an_untrained_residual_processor_is_exactly_the_identity(levels, heatmaps):
    assert torch.equal(processor(residual=True)(levels, heatmaps), levels)
    assert not torch.equal(processor()(levels, heatmaps), levels)


@pytest.mark.parametrize("height", [0.01, 0.5, 7.0])
def test_a_constant_heatmap_equals_ones(levels, height):
    made = processor()
    ones = made(levels, torch.ones_like(levels))
    torch.testing.assert_close(made(levels, torch.full_like(levels, height)), ones)


def test_an_all_zero_heatmap_is_finite_with_finite_gradients(levels):
    made = processor()
    answer = made(levels, torch.zeros_like(levels))
    answer.square().sum().backward()
    assert answer.isfinite().all()
    assert all(p.grad.isfinite().all() for p in made.parameters() if p.grad is not None)


def test_a_heatmap_changes_the_image(levels, heatmaps):
    made = processor()
    assert not torch.allclose(made(levels, heatmaps), made(levels, torch.ones_like(levels)))


def test_no_sample_depends_on_its_batch_mates(levels, heatmaps):
    made = processor()
    together = made(levels, heatmaps)
    for i in range(4):
        alone = made(levels[i : i + 1], heatmaps[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=1e-5)


def test_each_heatmap_is_normalised_by_its_own_peak():
    maps = torch.stack([torch.eye(4) * 5, torch.eye(4) / 5, torch.zeros(4, 4)])
    torch.testing.assert_close(normalised(maps), torch.stack([torch.eye(4)] * 2 + [maps[2]]))


def test_the_published_processor_scales_heatmaps_by_the_largest_of_the_batch():
    maps = torch.stack([torch.eye(4) * 5, torch.eye(4), torch.zeros(4, 4)])
    expected = torch.stack([torch.eye(4), torch.eye(4) / 5, torch.zeros(4, 4)])
    torch.testing.assert_close(over_the_batch(maps), expected)
    assert torch.equal(over_the_batch(torch.zeros(2, 4, 4)), torch.zeros(2, 4, 4))


@pytest.fixture
def channels():
    return torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("residual", [True, False])
def test_the_published_processor_reads_and_writes_three_channels(channels, heatmaps, residual):
    made = processor(published=True, residual=residual)
    answer = made(channels, heatmaps)
    assert answer.shape == channels.shape
    assert (answer - channels).abs().max() > 0 or residual
    assert torch.equal(answer, channels) == residual


def test_the_published_processor_cannot_tell_where_a_patch_lies(channels, heatmaps):
    """Patches that change places do so in the answer, too; with positions they do not."""
    swap = lambda images: images.roll(8, dims=-1)  # noqa: E731 — by one patch
    published, adapted = processor(published=True), processor()
    moved = published(swap(channels), swap(heatmaps))
    torch.testing.assert_close(moved, swap(published(channels, heatmaps)), atol=1e-5, rtol=1e-4)
    levels = channels[:, 0]
    assert not torch.allclose(
        adapted(swap(levels), swap(heatmaps)), swap(adapted(levels, heatmaps)), atol=1e-3
    )


def test_the_priming_loss_is_the_squared_error_in_the_processors_own_channels(channels):
    made = processor(published=True)
    error = (made(channels, torch.ones(4, *SIZE)) - channels).square().mean()
    torch.testing.assert_close(priming_loss(made, channels), error)


@pytest.mark.parametrize("changes", [{"patch": 7}, {"width": 33}])
def test_a_size_that_does_not_fit_is_refused(changes):
    with pytest.raises(ValueError, match="do not"):
        processor(**changes)


@pytest.mark.slow
def test_priming_brings_the_error_under_a_tenth_of_the_variance():
    """The published priming loss, alone and for long enough, on phantoms."""
    drawn = [phantom(PhantomConfig(size=64), index).image for index in range(48)]
    levels = torch.from_numpy(np.stack(drawn)).float() / 255
    torch.manual_seed(0)
    made = HeatmapProcessor((64, 64), patch=8, width=128, heads=4)
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    before = priming_loss(made, levels).item()
    for step in range(260):
        batch = levels[torch.arange(16).add(16 * step) % 48]
        optimizer.zero_grad()
        priming_loss(made, batch).backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
    after = priming_loss(made, levels).item()
    assert after < 0.1 * levels.var().item() < before
