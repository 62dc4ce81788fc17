"""A training that is killed at a random moment and run again ends with the same weights."""

import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

SMALL = [
    "method=eclip", "data.augment=true", "data.train=96", "data.validation=32", "data.test=1",
    "data.size=48", "optimiser.epochs=4", "optimiser.batch_size=16", "run.checkpoint_every=7",
    "expert.patch=8", "expert.width=32", "expert.share=1", "expert.batch=4",
    "expert.sigma={size: 3, unit: pixel}",
]  # fmt: skip
TIMEOUT_S = 250
"""Seconds after which a process counts as hung."""


@pytest.fixture(scope="module")
def fit():
    """Starts runs, and kills those that still run when the tests end."""
    started = []

    def start(run, *more):
        process = subprocess.Popen(
            [sys.executable, "-m", "training.cli", "fit", "phantom-tiny", str(run), *SMALL, *more],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def straight(fit, tmp_path_factory):
    """A run that nobody kills, and its process."""
    run = tmp_path_factory.mktemp("straight") / "run"
    return run, fit(run)


def state(run):
    return torch.load(run / "last.ckpt", weights_only=True)


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, fit, straight):
    (straight, uninterrupted), killed = straight, tmp_path / "killed"
    process = fit(killed)
    seed = random.randrange(10**6)
    end = time.monotonic() + TIMEOUT_S
    while not (killed / "last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 0.2))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    reached = state(killed)["global_step"]
    resumed = fit(killed)
    assert uninterrupted.wait(timeout=TIMEOUT_S) == 0
    assert reached < state(straight)["global_step"] == 24
    assert resumed.wait(timeout=TIMEOUT_S) == 0
    expected, resumed_state = state(straight), state(killed)
    assert expected["global_step"] == resumed_state["global_step"]
    for name, value in expected["state_dict"].items():
        assert torch.equal(value, resumed_state["state_dict"][name]), (name, seed)


def test_batches_prepared_by_another_process_are_the_same(tmp_path, fit, straight):
    for process in (straight[1], fit(tmp_path / "run", "run.workers=1")):
        assert process.wait(timeout=TIMEOUT_S) == 0
    alone, helped = (state(run)["state_dict"] for run in (straight[0], tmp_path / "run"))
    assert all(torch.equal(value, helped[name]) for name, value in alone.items())
