from pathlib import Path

import pytest

from tests.support.drafts import leave_drafts
from training.run.record import ENVIRONMENT, METRICS, RunRecord, write_environment


def record(run: Path) -> None:
    values = RunRecord(run)
    values.log_metrics({"loss": 1.0}, 1)
    values.after_save_checkpoint(None)


@pytest.mark.parametrize(("name", "write"), [(METRICS, record), (ENVIRONMENT, write_environment)])
def test_a_record_removes_what_killed_runs_left(tmp_path, name, write):
    leave_drafts(tmp_path / name)
    write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
