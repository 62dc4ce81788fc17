from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.drafts import leave_drafts
from tests.support.results import write_results
from training.experiments import cells
from training.experiments.phantom_gaze.analyse import TABLES, main
from training.experiments.phantom_gaze.contrasts import PRIMARY, QUESTIONS
from training.experiments.phantom_gaze.protocol import PROTOCOL
from training.experiments.phantom_gaze.run import RESULTS, run
from training.experiments.phantom_gaze.tables import tables
from training.experiments.results import Results
from training.recipe.methods import METHODS


@pytest.fixture(scope="module")
def miniature():
    """Two seeds of two arms, on a handful of phantoms."""
    small = PROTOCOL.smaller(
        2,
        "data.train=96",
        "data.test=48",
        "optimiser.epochs=1",
        "optimiser.batch_size=32",
        "expert.share=0.5",
    )
    arms = {"duplicate": ("method=duplicate",), "gaze_attention": ("method=gaze_attention",)}
    return replace(small, parts={"guidance": replace(small.parts["guidance"], arms=arms)})


def test_the_phantoms_are_those_of_the_pre_registration():
    PROTOCOL.check_frozen()


def test_other_phantoms_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(cells, "FINGERPRINT", "0" * 64)
    with pytest.raises(RuntimeError, match="pre-registration"):
        run(PROTOCOL, ["main"], tmp_path, tmp_path / "results.parquet")


@pytest.mark.slow
def test_no_two_seeds_share_phantoms_and_all_arms_of_a_seed_do(tmp_path):
    seen = {}
    for part in PROTOCOL.parts:
        for cell in PROTOCOL.cells(part):
            recipe = PROTOCOL.recipe_of(cell, tmp_path)
            assert seen.setdefault(recipe.data.seed, recipe.seed) == recipe.seed == cell.seed
            assert recipe.method in METHODS
    assert len(seen) == 15 + 20 + 20 + 30


@pytest.mark.slow
def test_the_arms_differ_from_clip_only_in_method_seed_and_experts(tmp_path):
    for cell in [cell for part in PROTOCOL.parts for cell in PROTOCOL.cells(part)]:
        recipe = PROTOCOL.recipe_of(cell, tmp_path)
        plain = PROTOCOL.recipe_of(replace(cell, overrides=("method=clip",)), tmp_path)
        alike = {"share": 0.05, "misplaced": 0.0, "primed_first": 0}
        expert = recipe.expert.model_copy(update=alike)
        assert recipe.model_copy(update={"method": "clip", "expert": expert}) == plain, cell


@pytest.mark.slow
def test_a_run_stops_anywhere_and_goes_on_without_running_a_cell_twice(miniature, tmp_path):
    work, results = tmp_path / "work", tmp_path / "results.parquet"
    one_seed = replace(
        miniature,
        parts={"guidance": replace(miniature.parts["guidance"], seeds=range(101, 102))},
    )
    run(one_seed, ["guidance"], work, results)
    first = pq.read_table(results).to_pylist()
    finished = {path: path.stat().st_mtime_ns for path in (work / "cells").iterdir()}
    leave_drafts(work / "cells" / "guidance-duplicate-102.json")
    run(miniature, ["guidance"], work, results)
    assert {path.suffix for path in (work / "cells").iterdir()} == {".json"}
    rows = pq.read_table(results).to_pylist()
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    assert [row for row in rows if row["seed"] == 101] == first
    cells = {(row["arm"], row["seed"]) for row in rows}
    assert cells == set(product(("duplicate", "gaze_attention"), (101, 102)))
    auroc = [row["value"] for row in rows if row["metric"] == PRIMARY]
    assert len(auroc) == 4
    assert all(0 < value < 1 for value in auroc)


@pytest.mark.slow
def test_tables_and_figures_come_of_whatever_was_run(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (part, arm, seed, PRIMARY, 0.7 + 0.02 * rng.standard_normal(), "")
        for part, arms in (("main", ("clip", "duplicate", "eclip")), ("shares", ("eclip at 1 %",)))
        for arm in arms
        for seed in range(1, 6)
    ]
    write_results(tmp_path / "results.parquet", rows)
    main(tmp_path / "results.parquet", tmp_path)
    written = (tmp_path / TABLES).read_text()
    assert "| main | AUROC | eclip − duplicate | 5 of 15 |" in written
    assert "shuffled_gaze" not in written.partition("## Every arm")[0]
    assert {path.name for path in tmp_path.glob("*.png")} == {"arms.png", "doses.png", "shares.png"}


@pytest.mark.slow
def test_the_committed_tables_are_those_of_the_committed_results():
    committed = RESULTS.with_name(TABLES).read_text(encoding="utf-8")
    assert "\n".join(tables(Results(RESULTS))) + "\n" == committed


def test_the_questions_are_of_arms_that_are_run():
    arms = {part: set(PROTOCOL.parts[part].arms) for part in PROTOCOL.parts}
    for part, _, pairs in QUESTIONS:
        assert {arm for pair in pairs for arm in pair} <= arms[part]


@pytest.mark.skipif(not RESULTS.exists(), reason="no results are committed yet")
def test_every_committed_result_is_a_cell_of_the_protocol():
    asked = {cell.key for part in PROTOCOL.parts for cell in PROTOCOL.cells(part)}
    found = Results(RESULTS)
    run_cells = {
        (part, arm, seed) for part, arm in found.arms() for seed in found.of(part, arm, PRIMARY)
    }
    assert run_cells <= asked
