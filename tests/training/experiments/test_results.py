import json

import pyarrow.parquet as pq

from tests.support.drafts import leave_drafts
from training.experiments.results import collect

METRIC = "auroc_present/macro"


def test_what_is_in_the_results_needs_no_cell_on_this_machine(tmp_path):
    results = tmp_path / "results.parquet"
    rows = [("main", "clip", 1, METRIC, 0.5, "a"), ("main", "clip", 2, METRIC, 0.6, "b")]
    finished = tmp_path / "cells"
    finished.mkdir()
    (finished / "main-clip-1.json").write_text(json.dumps(rows[:1]))
    assert collect(finished, results) == {("main", "clip", 1)}
    (finished / "main-clip-1.json").unlink()
    (finished / "main-clip-2.json").write_text(json.dumps(rows[1:]))
    assert collect(finished, results) == {("main", "clip", 1), ("main", "clip", 2)}
    assert [tuple(row.values()) for row in pq.read_table(results).to_pylist()] == rows


def test_results_remove_what_killed_runs_left(tmp_path):
    finished, results = tmp_path / "cells", tmp_path / "results.parquet"
    finished.mkdir()
    rows = [("main", "clip", 1, METRIC, 0.5, "a")]
    (finished / "main-clip-1.json").write_text(json.dumps(rows))
    leave_drafts(results)
    collect(finished, results)
    assert sorted(tmp_path.iterdir()) == [finished, results]
