"""`eclip-train fit paper` computes what its authors' code does, on one process and on two.

The towers are small ones in the published layouts. What each step computes is read off the step.
"""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
import torch

from tests.support.paths import ROOT
from tests.training.fit import standin
from tests.training.fit.runs import read_metric
from training.model import clip as clip_module
from training.run.folder import BEST, load_run

pytestmark = pytest.mark.slow

PER_STEP, STEPS = 8, standin.TRAIN // 8
SMALL = [
    "optimiser.epochs=1", f"optimiser.batch_size={PER_STEP}", f"expert.batch={PER_STEP // 2}",
    "run.checkpoint_every=4", "run.workers=0", "run.precision=32-true",
]  # fmt: skip


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    standin.save_models(folder)
    standin.save_pairs(folder)
    return folder


@pytest.fixture(scope="module")
def trained(towers, tmp_path_factory):
    """The run's folder and the facts of each of its processes, for a number of processes."""
    made = {}

    def train(processes, *overrides):
        key = (processes, *overrides)
        if key not in made:
            made[key] = fit(towers, tmp_path_factory.mktemp("paper"), *key)
        return made[key]

    return train


def fit(towers, folder, processes, *overrides):
    command = [sys.executable, "-m", "tests.training.fit.watched", "fit", "paper", folder / "run"]
    data = [f"data.path={towers / 'studies.jsonl'}", f"run.devices={processes}"]
    places = {"MODELS": str(towers), "FACTS": str(folder)}
    process = subprocess.Popen(
        [*map(str, command), *SMALL, *data, *overrides],
        cwd=ROOT,
        env=os.environ | places | {"GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, complaint = process.communicate(timeout=280)
        assert process.returncode == 0, complaint.decode()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # the other processes of a run that failed
    facts = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(processes)]
    return folder / "run", facts


@contextmanager
def published_in(folder, monkeypatch):
    """Lets open_clip know the models of a folder by the names of the published ones."""
    with monkeypatch.context() as patch:
        patch.setattr(clip_module, "PUBLISHED", folder)
        clip_module._register_published.cache_clear()
        yield
    clip_module._register_published.cache_clear()
    clip_module._register_published()


both = pytest.mark.parametrize("processes", [1, 2])


@both
def test_the_text_tower_is_the_class_token_and_one_matrix(trained, processes):
    for facts in trained(processes)[1]:
        text = facts["built"]["text"]
        assert text["projection"] == "Linear(in_features=32, out_features=512, bias=False)"
        by_hand = text["class_token"] @ text["weight"].T
        torch.testing.assert_close(text["answer"], by_hand, atol=1e-5, rtol=1e-4)


@both
def test_pixels_have_the_mean_and_deviation_of_radiographs(trained, processes):
    expected = (torch.tensor([0, 51, 128, 255]) / 255 - 0.58) / 0.26
    for facts in trained(processes)[1]:
        torch.testing.assert_close(facts["built"]["normalised"], expected.expand(3, -1))
        for step in facts["steps"]:
            main = (step["pixels"].unsqueeze(1).expand(-1, 3, -1, -1) / 255 - 0.58) / 0.26
            encoded = step["encoded"][0][: len(main)]
            torch.testing.assert_close(encoded, main, atol=1e-5, rtol=1e-5)


@both
def test_weights_decay_by_a_thousandth_and_the_processor_learns_twice_as_fast(trained, processes):
    groups = trained(processes)[1][0]["built"]["groups"]
    assert [
        (group["matrices"], group["processor"], group["weight_decay"], group["rate"])
        for group in groups
    ] == [
        (True, {False}, 1e-3, 1e-4),
        (True, {True}, 1e-3, 2e-4),
        (False, {False}, 0.0, 1e-4),
        (False, {True}, 0.0, 2e-4),
    ]


def with_experts(facts):
    steps = [step for step in facts["steps"] if step["experts"] is not None]
    assert steps, "no step had experts"
    return steps


@both
def test_expert_pairs_are_a_third_of_the_joined_batch_of_each_process(trained, processes):
    ranks = trained(processes)[1]
    assert [len(facts["steps"]) for facts in ranks] == [STEPS] * processes
    for facts in ranks:
        for step in with_experts(facts):
            main, experts = len(step["pixels"]), len(step["experts"]["pixels"])
            assert main == PER_STEP / processes
            assert experts == main / 2
            (joined,) = step["encoded"]
            assert len(joined) == main + experts == 3 * experts


@both
def test_the_curriculum_ends_at_a_twentieth(trained, processes):
    for facts in trained(processes)[1]:
        assert facts["built"]["schedule"] == pytest.approx([0, 0.05, 0.5, 0.05, 0.05])


@both
def test_a_step_has_one_weight_for_all_its_expert_pairs(trained, processes):
    ranks = trained(processes)[1]
    for steps in zip(*map(with_experts, ranks), strict=True):
        weights = torch.cat([step["experts"]["weight"] for step in steps])
        assert len(weights) == PER_STEP // 2
        assert len(weights.unique()) == 1


@both
def test_seven_tenths_of_the_loss_are_contrastive_while_the_processor_is_primed(trained, processes):
    for facts in trained(processes)[1]:
        primed = [step for step in facts["steps"] if step["progress"] < 0.1]
        later = [step for step in facts["steps"] if step["progress"] >= 0.1]
        assert (len(primed), len(later)) == (1, STEPS - 1)
        for step in primed:
            (contrastive,) = step["contrastive"]
            expected = 0.7 * contrastive + 0.3 * step["reconstruction"]
            torch.testing.assert_close(step["loss"], expected, atol=1e-5, rtol=1e-4)
        for step in later:
            assert [step["loss"]] == step["contrastive"]


@both
def test_the_processor_has_three_channels_eight_heads_and_no_positions(trained, processes):
    for facts in trained(processes)[1]:
        assert facts["built"]["processor"] == {"channels": (3, 3), "heads": 8, "positions": None}


@both
def test_heatmaps_are_scaled_by_the_largest_value_of_their_batch(trained, processes):
    ranks = trained(processes)[1]
    for steps in zip(*map(with_experts, ranks), strict=True):
        largest = max(step["experts"]["heatmaps"].max() for step in steps)
        for step in steps:
            image, looked = step["patches"][:2]
            assert image.shape[1:] == (3, standin.SIDE, standin.SIDE)
            scaled = step["experts"]["heatmaps"] / largest
            torch.testing.assert_close(looked, scaled.unsqueeze(1) * image)


@both
def test_the_best_checkpoint_by_validation_loss_is_given_after_a_patience_of_ten(
    trained, processes, towers, monkeypatch
):
    run, ranks = trained(processes)
    for facts in ranks:
        assert facts["built"]["stopping"] == ("validation/loss", "min", 10)
        assert facts["built"]["best"] == ("validation/loss", "min")
    losses = {value: step for step, value in read_metric(run, "validation/loss")}
    assert len(losses) == 3
    kept = torch.load(run / BEST, weights_only=True)
    assert kept["global_step"] == losses[min(losses)] + 1
    with published_in(towers, monkeypatch):
        _, clip = load_run(run)
    projection = kept["state_dict"]["expert_clip.model.text.proj.weight"]
    assert torch.equal(clip.model.text.proj.weight, projection)


@both
def test_dacl_contrasts_two_mixtures_of_the_whole_batch(trained, processes):
    ranks = trained(processes, "method=dacl_whole_batch")[1]
    weights = []
    for steps in zip(*(facts["steps"] for facts in ranks), strict=True):
        everyone = torch.stack([step["pixels"] for step in steps], dim=1).flatten(0, 1)
        for step in steps:
            assert step["experts"] is None
            partners, weight = step["mixing"]["partners"], step["mixing"]["weight"]
            weights.append(weight)
            for mixed, places, part in zip(step["encoded"][1:], partners, weight, strict=True):
                of_image = part.view(-1, 1, 1)
                pixels = of_image * step["pixels"] + (1 - of_image) * everyone[places]
                expected = (pixels.unsqueeze(1).expand(-1, 3, -1, -1) / 255 - 0.58) / 0.26
                torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(step["loss"], sum(step["contrastive"]))
            assert len(step["contrastive"]) == 2
    drawn = torch.cat([each.flatten() for each in weights])
    assert len(drawn) == 2 * PER_STEP * STEPS
    assert drawn.var().item() == pytest.approx(0.25 / 2.2, abs=0.03)
