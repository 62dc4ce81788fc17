from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.curriculum import CURRICULUM
from training.methods import METHODS, assigned, draw_share, masked, neighbour

ARMS = {
    "clip", "duplicate", "naive", "dacl", "mean_gaze", "shuffled_gaze", "eclip",
    "eclip_no_curriculum", "eclip_no_priming", "eclip_hard_mask", "oracle",
    "gaze_attention", "shuffled_attention", "mean_attention", "oracle_attention",
    "duplicate_always",
}  # fmt: skip


@pytest.fixture
def heatmaps():
    return np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8)


def test_every_arm_of_the_experiment_is_there():
    assert set(METHODS) == ARMS


def test_only_clip_has_no_experts():
    assert {name for name, method in METHODS.items() if not method.has_experts} == {"clip"}


def test_the_controls_differ_from_eclip_in_one_thing_each():
    eclip = METHODS["eclip"]
    for name in ("shuffled_gaze", "mean_gaze", "oracle"):
        control = METHODS[name]
        assert control.gaze != eclip.gaze
        assert (control.schedule, control.share, control.view, control.primed) == (
            eclip.schedule, eclip.share, eclip.view, eclip.primed,
        )  # fmt: skip
    assert METHODS["duplicate"].schedule == eclip.schedule == CURRICULUM
    assert METHODS["duplicate"].has_processor


def test_the_controls_of_guided_attention_differ_from_it_in_one_thing_each():
    guided = METHODS["gaze_attention"]
    for name, gaze in {"shuffled": "shuffled", "mean": "mean", "oracle": "lesions"}.items():
        control = METHODS[f"{name}_attention"]
        assert control == replace(guided, name=control.name, gaze=gaze)
    unguided = METHODS["duplicate_always"]
    assert unguided == replace(guided, name=unguided.name, attends=False)


@given(st.integers(2, 40), st.integers(0, 2**31))
def test_shuffled_gaze_gives_each_study_anothers_and_loses_none(count, seed):
    maps = np.arange(count, dtype=np.uint8).reshape(count, 1, 1)
    given_maps = assigned(maps, "shuffled", np.random.default_rng(seed))
    assert sorted(given_maps.ravel()) == sorted(maps.ravel())
    assert not (given_maps == maps).any()


def test_mean_gaze_is_the_same_for_all(heatmaps):
    given_maps = assigned(heatmaps, "mean", np.random.default_rng(0))
    for one in given_maps:
        np.testing.assert_allclose(one, heatmaps.mean(axis=0), atol=0.5)


@pytest.mark.parametrize("gaze", ["own", "lesions"])
def test_ones_own_gaze_stays(heatmaps, gaze):
    np.testing.assert_array_equal(assigned(heatmaps, gaze, np.random.default_rng(0)), heatmaps)


def test_the_published_share_is_beta_distributed():
    share = draw_share(METHODS["eclip"], np.random.default_rng(0), 20_000).double()
    assert share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert share.var().item() == pytest.approx(0.25 / 1.6, abs=0.005)
    assert ((share >= 0) & (share <= 1)).all()


@pytest.mark.parametrize(
    ("name", "least", "most"), [("duplicate", 1, 1), ("naive", 0, 0), ("dacl", 0.5, 1)]
)
def test_other_shares_stay_within_their_bounds(name, least, most):
    share = draw_share(METHODS[name], np.random.default_rng(0), 1000)
    assert least <= share.min() <= share.max() <= most


def test_a_hard_mask_keeps_what_was_looked_at():
    pixels = torch.full((1, 2, 2), 200)
    maps = torch.tensor([[[1.0, 0.5], [0.1, 0.0]]])
    assert masked(None, pixels, maps).tolist() == [[[200, 200], [0, 0]]]


def test_dacl_mixes_in_another_image_of_the_batch():
    pixels = torch.arange(3, dtype=torch.uint8).view(3, 1, 1)
    assert neighbour(None, pixels, None).flatten().tolist() == [2, 0, 1]
