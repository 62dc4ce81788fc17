"""W&B and MLflow for real, where they are installed; each in processes of its own."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import ROOT
from training.run.record import last_measured

pytestmark = pytest.mark.slow

DRIVER = """
import os, sys
from training import cli
from training.fit.loop import ClipTraining

def stay_here(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1"):
        os._exit(9)

def until_the_power_fails(self, batch, index, step=ClipTraining.training_step):
    if self.global_step == 9:
        raise RuntimeError("no power")
    return step(self, batch, index)

sys.addaudithook(stay_here)
if os.environ.get("POWER") == "fails":
    ClipTraining.training_step = until_the_power_fails
cli.main()
"""
SMALL = [
    "method=clip", "data.train=96", "data.validation=32", "data.test=1", "data.size=48",
    "optimiser.epochs=3", "optimiser.batch_size=16", "run.checkpoint_every=6",
]  # fmt: skip
CI = {"CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST"}  # where MLflow keeps quiet by itself


@pytest.fixture
def watched(tmp_path):
    """Train until the power fails and again to the end; gives the run directory."""

    def train(logger, **environment):
        if find_spec(logger) is None:
            pytest.skip(f"{logger} is not installed here")
        run = tmp_path / "run"
        arguments = ["fit", "phantom-tiny", str(run), *SMALL, f"run.loggers=[{logger}]"]
        variables = {k: v for k, v in os.environ.items() if k not in CI} | environment
        for power, begins in (("fails", "no power"), ("holds", "Trained")):
            done = subprocess.run(
                [sys.executable, "-c", DRIVER, *arguments],
                env=variables | {"PYTHONPATH": str(ROOT), "POWER": power},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=200,
            )
            assert begins in done.stdout + done.stderr, done.stderr
        return run

    return train


def test_mlflow_keeps_one_run_in_the_runs_own_database_and_asks_no_network(watched, tmp_path):
    run = watched("mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'phantom-tiny'")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert (kept.info.run_id, kept.info.status) == ((run / "mlflow.id").read_text(), "FINISHED")
    assert {m.step for m in client.get_metric_history(kept.info.run_id, "loss")} == set(range(18))
    for name, value in last_measured(run).items():
        assert kept.data.metrics[name.replace("@", "")] == pytest.approx(value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_wandb_keeps_one_run_and_offline_asks_no_network(watched):
    run = watched("wandb", WANDB_MODE="offline")
    begun = [path.name for path in (run / "wandb").glob("offline-run-*")]
    assert len(begun) == 2
    assert {name.rpartition("-")[2] for name in begun} == {(run / "wandb.id").read_text()}
