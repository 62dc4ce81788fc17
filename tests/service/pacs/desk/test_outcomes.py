"""What became of a study is one line, on the disk, without any identifier."""

import stat

import pytest

from service.errors import StoreFull
from service.imaging.deidentify import Pseudonymiser
from service.pacs.desk.outcomes import Outcome, OutcomeLine, Outcomes
from service.telemetry import REGISTRY
from tests.support.disks import fill, small_disk

NAMES = Pseudonymiser(b"k" * 32)
STUDY = "1.2.840.99999.7"
SENT = Outcome(STUDY, "sent", to="pacs", images=2, record="2026-01-01-0f", result_uid="2.25.99999")


def write(outcomes, times):
    for _ in range(times):
        outcomes.write(SENT)


def lines(folder):
    return [line for day in folder.glob("*.jsonl") for line in day.read_text().splitlines()]


def test_an_outcome_is_a_line_of_hashes_that_only_its_owner_may_read(tmp_path):
    counted = REGISTRY.get_sample_value("eclip_pacs_outcomes_total", {"outcome": "sent"}) or 0
    outcomes = Outcomes(tmp_path / "pacs", NAMES)
    outcomes.write(SENT)
    outcomes.write(Outcome(STUDY, "left-out", images=1, rule="row 3"))
    first, second = map(OutcomeLine.model_validate_json, lines(tmp_path / "pacs"))
    assert (first.study, first.result) == (NAMES.study(STUDY), NAMES.text("2.25.99999"))
    assert (first.outcome, first.to, first.record) == ("sent", "pacs", SENT.record)
    assert (second.outcome, second.rule, second.result) == ("left-out", "row 3", None)
    assert "99999" not in "".join(lines(tmp_path / "pacs"))
    (day,) = (tmp_path / "pacs").iterdir()
    assert stat.S_IMODE(day.stat().st_mode) == 0o600
    after = REGISTRY.get_sample_value("eclip_pacs_outcomes_total", {"outcome": "sent"})
    assert after == counted + 1


def test_a_full_disk_takes_no_half_line(tmp_path):
    with small_disk(tmp_path / "disk", 1) as disk:
        outcomes = Outcomes(disk / "pacs", NAMES)
        outcomes.write(SENT)
        fill(disk)
        with pytest.raises(StoreFull):
            write(outcomes, 100)
        for line in lines(disk / "pacs"):
            OutcomeLine.model_validate_json(line)
