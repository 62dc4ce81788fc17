"""What is measured at a checkpoint, the average of the weights, and stopping early."""

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from tests.training.conftest import changed
from tests.training.fit.runs import assert_same_weights, run_with, weights
from training.data.pairs import Pairs
from training.fit import loop
from training.fit.trainer import fit
from training.model.expert_clip import ExpertCLIP
from training.run.folder import BEST, CHECKPOINT, load_run, measured
from training.run.record import METRICS, last_measured

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
    expected = loop.measures(images.numpy(), texts.numpy(), pairs)
    batch_size = tiny_recipe.optimiser.batch_size
    with torch.no_grad():
        expected["loss"] = loop.validation_loss(
            images.numpy(), texts.numpy(), given.model, batch_size
        )
    assert last_measured(run) == pytest.approx(
        {f"validation/{name}": value for name, value in expected.items()}, abs=1e-5
    )


def scripted(monkeypatch, *losses):
    """Validation finds these losses, one at each checkpoint."""
    left = iter(losses)
    monkeypatch.setattr(loop, "validation_loss", lambda *_: next(left))


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_gives_the_weights_of_its_best_checkpoint(
    rendered, tiny_recipe, tmp_path, monkeypatch, ema
):
    changes = {"run": {"watched": "loss", "weights": "best"}, "optimiser": {"ema": ema}}
    scripted(monkeypatch, 3.0, 1.0, float("nan"), 2.0)
    run, given = run_with(rendered, tmp_path, tiny_recipe, **changes)
    kept = torch.load(run / BEST, weights_only=True)
    assert kept["global_step"] == 12
    assert measured(run)["validation/loss"] == 1.0
    assert last_measured(run)["validation/loss"] == 2.0
    projection = kept["state_dict"]["expert_clip.model.visual.proj"]
    assert torch.equal(given.model.visual.proj, projection)
    assert_same_weights(weights(load_run(run)[1]), weights(given))
    assert_same_weights(weights(fit(changed(tiny_recipe, **changes), run)), weights(given))
    last = torch.load(run / CHECKPOINT, weights_only=True)["state_dict"]
    assert not torch.equal(last["expert_clip.model.visual.proj"], projection)


def test_what_was_measured_before_the_best_checkpoint_is_not_taken_for_its_own(
    rendered, tiny_recipe, tmp_path, monkeypatch
):
    """The power fails after best.ckpt is written and before metrics.parquet is."""
    scripted(monkeypatch, 2.0, 1.0, 3.0, 3.0)
    run, _ = run_with(rendered, tmp_path, tiny_recipe, run={"watched": "loss", "weights": "best"})
    assert measured(run)["validation/loss"] == 1.0
    table = pq.read_table(run / METRICS)
    pq.write_table(table.filter(pc.field("step") < 11), run / METRICS)
    assert measured(run) == {}


def test_patience_counts_checkpoints_without_a_lower_loss(
    rendered, tiny_recipe, tmp_path, monkeypatch
):
    scripted(monkeypatch, 2.0, 1.0, 1.5, 0.5)
    run, _ = run_with(
        rendered, tmp_path, tiny_recipe, run={"watched": "loss", "weights": "best", "patience": 1}
    )
    assert torch.load(run / CHECKPOINT, weights_only=True)["global_step"] == 18
    assert torch.load(run / BEST, weights_only=True)["global_step"] == 12


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
