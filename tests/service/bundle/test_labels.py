import pytest
from pydantic import ValidationError

from service.bundle.labels import Calibration, LabelSets, Prompts


def test_label_sets_survive_json():
    sets = LabelSets.model_validate(
        {
            "set": {
                "effusion": {
                    "present": ["An effusion."],
                    "calibration": {"slope": 20.5, "offset": -1, "abstain": [0.4, 0.6]},
                }
            }
        }
    )
    assert LabelSets.model_validate_json(sets.model_dump_json()) == sets


@pytest.mark.parametrize("prompt", ["", " \n", "x" * 513])
def test_a_prompt_that_says_nothing_or_too_much_is_refused(prompt):
    with pytest.raises(ValidationError, match="present"):
        Prompts(present=(prompt,))


def test_a_label_needs_a_present_prompt():
    with pytest.raises(ValidationError, match="present"):
        Prompts(present=())


def test_a_calibration_is_finite():
    with pytest.raises(ValidationError, match="slope"):
        Calibration(slope=float("inf"), offset=0.0, abstain=(0.4, 0.6))
