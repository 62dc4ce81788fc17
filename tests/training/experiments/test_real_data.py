import pytest

from training.evaluate.page import write
from training.evaluate.result import Estimate, Measurement, Result
from training.experiments.real_data.tables import main, read, table


@pytest.fixture
def measured(tmp_path):
    """What was written of two encoders, of which one could not be probed."""
    auroc = Estimate(value=0.61234, n=9, low=0.5, high=0.7, chance=0.5)
    probe = Estimate(value=0.8, n=9, chance=0.5, sd=0.02)
    zero_shot = Measurement(by_label={"pneumonia": {"auroc_present": auroc}})
    sections = {"zero_shot": zero_shot, "linear_probe": Measurement({"linear_probe/10%": probe})}
    folder = tmp_path / "pediatric_pneumonia"
    write(Result({"encoder": "one"}, sections), folder / "b")
    write(Result({"encoder": "one"}, {"zero_shot": zero_shot}), folder / "a")
    return tmp_path


def test_every_number_stands_beside_its_interval_and_its_chance(measured, capsys):
    main(measured)
    printed = capsys.readouterr().out
    assert printed.startswith("## covid_chestxray\n")
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert rows[-3:] == [
        "| chance | 0.500 |  |  |  | 0.500 |  |",
        "| a | 0.612 (0.500 – 0.700) |  |  |  |  |  |",
        "| b | 0.612 (0.500 – 0.700) |  |  |  | 0.800 (± 0.020) |  |",
    ]


def test_a_number_is_read_as_it_was_written(measured):
    numbers = read(measured / "pediatric_pneumonia" / "b" / "metrics.json")
    assert numbers["auroc_present/pneumonia"].low == 0.5
    assert numbers["linear_probe/10%"].sd == 0.02


def test_nothing_measured_is_a_table_of_headings():
    assert list(table({}, {"x": "X"})) == ["| encoder | X |", "| --- | --- |", "| chance |  |"]
