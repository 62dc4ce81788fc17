"""What several tests of training ask of a run."""

import shutil

import pyarrow.parquet as pq
import torch

from tests.training.conftest import changed
from training.fit.trainer import fit


def weights(clip):
    return {name: value.clone() for name, value in clip.model.state_dict().items()}


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def run_with(rendered, tmp_path, recipe, name="run", **changes):
    """The folder and the model of a run of the recipe with some values changed."""
    run = shutil.copytree(rendered, tmp_path / name)
    return run, fit(changed(recipe, **changes), run)


def read_metric(run, metric):
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    return sorted((row["step"], row["value"]) for row in rows if row["metric"] == metric)
