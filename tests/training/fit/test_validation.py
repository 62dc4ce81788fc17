"""What is measured at a checkpoint, the average of the weights, and stopping early."""

import pytest
import torch

from tests.training.conftest import changed
from tests.training.fit.runs import assert_same_weights, run_with, weights
from training.data.pairs import Pairs
from training.fit import loop
from training.fit.trainer import fit
from training.model.expert_clip import ExpertCLIP
from training.run.folder import CHECKPOINT, load_run
from training.run.record import last_measured

pytestmark = pytest.mark.slow


def test_an_average_of_the_weights_is_what_the_run_gives(rendered, finished, tiny_recipe, tmp_path):
    run, given = run_with(rendered, tmp_path, tiny_recipe, optimiser={"ema": 0.9})
    _, averaged = load_run(run)
    assert_same_weights(weights(averaged), weights(given))
    assert not torch.equal(averaged.model.visual.proj, finished.clip.model.visual.proj)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_validation_measures_what_the_run_gives(rendered, tiny_recipe, tmp_path, ema, precision):
    """The average, in the precision of the exported model."""
    run, _ = run_with(
        rendered, tmp_path, tiny_recipe, optimiser={"ema": ema}, run={"precision": precision}
    )
    _, given = load_run(run)
    given.model.eval()
    pairs, model = Pairs.load(run / "validation"), ExpertCLIP(given)
    with torch.no_grad():
        images = model.images(torch.from_numpy(pairs.images))
        texts = model.texts(torch.from_numpy(given.tokenizer(pairs.reports).ids))
    measured = loop.measures(images.numpy(), texts.numpy(), pairs)
    assert last_measured(run) == pytest.approx(
        {f"validation/{name}": value for name, value in measured.items()}, abs=1e-5
    )


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_that_is_long_no_better_stops_and_stays_stopped(
    rendered, tiny_recipe, tmp_path, monkeypatch, ema
):
    monkeypatch.setattr(loop, "measures", lambda *_: {"recall@5": 0.5})
    run, given = run_with(
        rendered, tmp_path, tiny_recipe, run={"patience": 1}, optimiser={"ema": ema}
    )
    again = fit(changed(tiny_recipe, run={"patience": 1}, optimiser={"ema": ema}), run)
    assert torch.load(run / CHECKPOINT, weights_only=True)["global_step"] == 12
    assert_same_weights(weights(again), weights(given))
    assert_same_weights(weights(load_run(run)[1]), weights(given))
