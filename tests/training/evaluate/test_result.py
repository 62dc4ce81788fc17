import json

import pytest

from training.evaluate.compare import Disagreement, check_agreement, differences, largest
from training.evaluate.result import Estimate, Measurement, Result

ONE = Estimate(value=0.75, n=9, low=0.7, high=0.8, chance=0.5)
SECTION = Measurement(
    values={"auroc/macro": ONE}, by_label={"nodule": {"auroc": Estimate(value=0.5, n=9)}}
)


def result(section=SECTION):
    return Result({"encoder": "mine"}, {"zero_shot": section})


def test_every_number_has_one_name():
    assert list(result().numbers()) == ["auroc/macro", "auroc/nodule"]


def test_the_record_leaves_out_what_is_not_there_and_rounds():
    third = Measurement(values={"x": Estimate(value=1 / 3, n=2, chance=0.0)})
    assert json.loads(result(third).to_json()) == {
        "about": {"encoder": "mine"},
        "sections": {"zero_shot": {"values": {"x": {"value": 0.333333, "n": 2, "chance": 0.0}}}},
    }


def test_a_number_that_is_none_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        result(Measurement(values={"x": Estimate(value=float("nan"), n=1)})).to_json()


def test_a_table_shows_the_interval_or_the_deviation():
    assert ONE.cells() == ("0.750", "0.700 – 0.800", "0.500", "9")
    assert Estimate(value=0.5, n=3, sd=0.1).cells() == ("0.500", "± 0.100", "", "3")


def test_the_largest_difference_is_found_whatever_its_sign():
    moved = Measurement({"auroc/macro": Estimate(value=0.65, n=9)}, SECTION.by_label)
    found = differences(result(), result(moved))
    assert found == pytest.approx({"auroc/macro": -0.1, "auroc/nodule": 0})
    assert largest(found) == ("auroc/macro", pytest.approx(0.1))
    assert largest({}) == ("", 0)


def test_encoders_that_agree_pass_and_others_are_refused_with_the_worst_measure():
    check_agreement({"a": 1e-5, "b": -9e-5})
    with pytest.raises(Disagreement, match=r"1 of 2 measures .* most of all b, by 2\.00e-04"):
        check_agreement({"a": 1e-5, "b": -2e-4})
    with pytest.raises(Disagreement, match="differ"):
        check_agreement({"a": float("nan")})


def test_a_number_that_only_one_has_is_a_disagreement():
    with pytest.raises(Disagreement, match="only one of the two was measured on auroc/nodule"):
        differences(result(), result(Measurement(SECTION.values)))
