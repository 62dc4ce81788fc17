from dataclasses import replace

import numpy as np
import pytest
import torch

from training.data.experts import Experts
from training.data.pairs import Pairs
from training.data.study import DataError
from training.fit.plan import Plan, Steps, draw_weight
from training.model.tokenizer import learn
from training.recipe import ExpertSpec, load_recipe
from training.recipe.curriculum import ALWAYS, CURRICULUM
from training.recipe.methods import METHODS


@pytest.fixture(scope="module")
def pairs(rendered):
    return Pairs.load(rendered / "train")


@pytest.fixture(scope="module")
def roomy(pairs):
    """A tokenizer with a context that every report fits in."""
    return learn(pairs.reports, 420, 256)


@pytest.fixture(scope="module")
def plan(pairs, roomy):
    def make(method="eclip", **changes):
        chosen = METHODS[method]
        experts = Experts.of(pairs, 1, chosen.gaze, 0) if chosen.has_experts else None
        return replace(
            Plan(pairs, experts, roomy, chosen, 0, 16, ExpertSpec(batch=6), 5), **changes
        )

    return make


def test_an_epoch_shows_every_pair_once_with_its_own_report(plan, pairs, roomy):
    made = plan("clip")
    assert (made.steps_an_epoch, made.steps) == (6, 30)
    rows = np.concatenate([made.rows(step) for step in range(6, 12)])
    assert sorted(rows) == list(range(96))
    batches = [made.batch(step) for step in range(6, 12)]
    pixels = torch.cat([batch.pixels for batch in batches]).numpy()
    tokens = torch.cat([batch.tokens for batch in batches]).numpy()
    np.testing.assert_array_equal(pixels, pairs.images[rows])
    np.testing.assert_array_equal(tokens, roomy([pairs.reports[row] for row in rows]).ids)


def test_a_last_batch_that_is_not_full_is_dropped(plan):
    assert plan("clip", batch_size=36).steps_an_epoch == 2


def test_each_seed_and_epoch_has_its_own_order(plan):
    orders = {tuple(plan("clip", seed=s).rows(step)) for s in (0, 1) for step in (0, 6, 12)}
    assert len(orders) == 6


def in_any_order(tensors):
    """One sorted number an item."""
    return torch.cat([t.double().flatten(1).pow(2).sum(1) for t in tensors]).sort().values


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("augment", [False, True])
def test_ranks_see_together_what_one_process_sees(plan, tokenizer, ranks, augment):
    """Experts, cropped images and sampled sentences too."""
    made = plan(batch_size=18, augment=augment, tokenizer=tokenizer)
    made = replace(made, method=replace(made.method, schedule=ALWAYS))
    for step in (0, 7):
        alone = made.batch(step)
        parts = [made.batch(step, rank, ranks) for rank in range(ranks)]
        for name in ("pixels", "tokens"):
            many = in_any_order([getattr(part, name) for part in parts])
            assert torch.equal(many, in_any_order([getattr(alone, name)]))
        for name in ("pixels", "tokens", "heatmaps"):
            many = in_any_order([getattr(part.experts, name) for part in parts])
            torch.testing.assert_close(many, in_any_order([getattr(alone.experts, name)]))
        weights = torch.cat([part.experts.weight for part in parts])
        assert torch.equal(weights.sort().values, alone.experts.weight.sort().values)


def test_ranks_never_disagree_on_whether_experts_join(plan):
    made = plan()
    for step in range(made.steps):
        joined = {made.batch(step, rank, 2).experts is None for rank in (0, 1)}
        assert len(joined) == 1


def test_experts_join_as_often_as_the_curriculum_says(plan):
    made = plan(epochs=1000)
    joined = np.array([made.experts_join(step) for step in range(made.steps)])
    for low, high in ((0, 0.1), (0.35, 0.45), (0.85, 1)):
        span = slice(int(low * made.steps), int(high * made.steps))
        expected = np.mean([CURRICULUM(s / made.steps) for s in range(span.start, span.stop)])
        assert joined[span].mean() == pytest.approx(expected, abs=0.05)


def test_all_arms_share_the_order_of_the_pairs(plan):
    for name in METHODS:
        np.testing.assert_array_equal(plan(name).rows(9), plan("clip").rows(9))


def test_experts_are_the_same_studies_in_every_arm_and_nested_by_share(pairs):
    rows = {
        name: set(Experts.of(pairs, 1, METHODS[name].gaze, 0).rows)
        for name in METHODS
        if METHODS[name].has_experts
    }
    assert set(METHODS) - set(rows) == {"clip", "dacl_whole_batch"}
    assert all(chosen == rows["eclip"] for chosen in rows.values())
    few, more = (set(Experts.of(pairs, share, "own", 0).rows) for share in (0.2, 0.5))
    assert few < more < rows["eclip"]


def test_an_experts_pixels_report_and_heatmap_are_its_own(plan, pairs, roomy):
    made = plan()
    made = replace(made, method=replace(made.method, schedule=ALWAYS))
    batch = made.batch(3).experts
    for pixels, tokens, heatmap in zip(batch.pixels, batch.tokens, batch.heatmaps, strict=True):
        (row,) = [r for r in made.experts.rows if (pairs.images[r] == pixels.numpy()).all()]
        np.testing.assert_array_equal(tokens, roomy([pairs.reports[row]]).ids[0])
        np.testing.assert_allclose(heatmap, pairs.heatmaps[row] / 255, atol=1e-6)


def test_augmentation_changes_the_images_and_depends_on_the_step_alone(plan):
    made = plan(augment=True)
    first, again, plain = made.batch(2), made.batch(2), plan().batch(2)
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, plain.pixels)
    assert first.pixels.shape == plain.pixels.shape


def test_a_span_of_steps_is_a_data_set(plan):
    steps = Steps(plan("clip"), range(4, 9), 0, 1)
    assert len(steps) == 5
    assert torch.equal(steps[2].pixels, plan("clip").batch(6).pixels)


def test_the_oracles_map_is_the_lesion_or_all_of_a_study_without_one(pairs):
    oracle = Experts.of(pairs, 1, "lesions", 0)
    for row, heatmap in zip(oracle.rows, oracle.heatmaps, strict=True):
        mask = pairs.lesions[row]
        expected = mask if mask.any() else np.full_like(mask, 255)
        np.testing.assert_array_equal(heatmap, expected)
    assert {bool(pairs.lesions[row].any()) for row in oracle.rows} == {True, False}


@pytest.mark.parametrize(("share", "strip"), [(1e-9, {}), (1, {"heatmaps": None})])
def test_a_run_without_a_single_expert_is_refused(pairs, share, strip):
    with pytest.raises(DataError, match="gaze"):
        Experts.of(replace(pairs, **strip), share, "own", 0)


@pytest.mark.parametrize("misplaced", [0.0, 0.25, 1.0])
def test_so_much_of_the_gaze_is_anothers(pairs, misplaced):
    own = Experts.of(pairs, 1, "own", 0)
    dosed = Experts.of(pairs, 1, "own", 0, misplaced)
    np.testing.assert_array_equal(dosed.rows, own.rows)
    changed = (dosed.heatmaps != own.heatmaps).any(axis=(1, 2))
    assert changed.sum() == round(misplaced * len(own))
    maps = [sorted(one.tobytes() for one in experts.heatmaps) for experts in (own, dosed)]
    assert maps[0] == maps[1]


@pytest.mark.parametrize("gaze", ["shuffled", "mean", "lesions"])
def test_only_ones_own_gaze_can_be_misplaced(pairs, gaze):
    with pytest.raises(DataError, match="own gaze"):
        Experts.of(pairs, 1, gaze, 0, 0.5)


def test_one_expert_alone_cannot_change_gaze_with_another(pairs):
    few = Experts.of(pairs, 1, "own", 0)
    with pytest.raises(DataError, match="nobody to exchange gaze with"):
        Experts.of(pairs, 1, "own", 0, 1 / len(few))


def test_the_published_weight_is_beta_distributed():
    weight = draw_weight("beta", np.random.default_rng(0), 20_000, ExpertSpec())
    assert weight.mean() == pytest.approx(0.5, abs=0.01)
    assert weight.var() == pytest.approx(0.25 / 1.6, abs=0.005)
    assert ((weight >= 0) & (weight <= 1)).all()


def test_a_step_of_the_papers_recipe_has_one_weight_for_all_its_experts():
    expert = load_recipe("paper", []).expert
    draws = [draw_weight("beta", np.random.default_rng(seed), 5, expert) for seed in range(4000)]
    assert {len(np.unique(weights)) for weights in draws} == {1}
    first = np.array([weights[0] for weights in draws])
    assert first.mean() == pytest.approx(0.5, abs=0.02)
    assert first.var() == pytest.approx(0.25 / 1.4, abs=0.01)


def test_all_ranks_have_the_one_weight_of_a_step(plan):
    made = plan(expert=ExpertSpec(batch=6, one_weight=True))
    made = replace(made, method=replace(made.method, schedule=ALWAYS))
    for step in (0, 7):
        weights = torch.cat([made.batch(step, rank, 2).experts.weight for rank in (0, 1)])
        assert len(weights) == 6
        assert len(weights.unique()) == 1


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_images_are_mixed_alike_however_many_processes_there_are(plan, ranks):
    """Each image twice, with two others of the whole step."""
    made = plan("dacl_whole_batch")
    alone = made.batch(3).mixing
    assert sorted(alone.partners[0]) == sorted(alone.partners[1]) == list(range(16))
    assert not torch.equal(alone.partners[0], alone.partners[1])
    parts = [made.batch(3, rank, ranks).mixing for rank in range(ranks)]
    for name in ("partners", "weight"):
        together = torch.stack([getattr(part, name) for part in parts], dim=2).flatten(1)
        assert torch.equal(together, getattr(alone, name))
    assert made.batch(3).experts is None
    assert plan("eclip").batch(3).mixing is None


def test_the_weights_of_mixtures_are_beta_distributed(plan):
    made = plan("dacl_whole_batch")
    weights = torch.cat([made.batch(step).mixing.weight.flatten() for step in range(30)])
    assert weights.mean().item() == pytest.approx(0.5, abs=0.04)
    assert weights.var().item() == pytest.approx(0.25 / 2.2, abs=0.02)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("duplicate", 1, 1), ("naive", 0, 0), ("dacl", 0.5, 1)]
)
def test_other_weights_stay_within_their_bounds(name, least, most):
    weight = draw_weight(METHODS[name].weighting, np.random.default_rng(0), 1000, ExpertSpec())
    assert least <= weight.min() <= weight.max() <= most
