from dataclasses import replace

import pytest

from training.recipe.curriculum import CURRICULUM, curriculum
from training.recipe.methods import METHODS


def test_the_controls_differ_from_eclip_in_one_thing_each():
    eclip = METHODS["eclip"]
    for name in ("shuffled_gaze", "mean_gaze", "oracle"):
        control = METHODS[name]
        assert control.gaze != eclip.gaze
        assert (control.schedule, control.weighting, control.view, control.primed) == (
            eclip.schedule, eclip.weighting, eclip.view, eclip.primed,
        )  # fmt: skip
    assert METHODS["duplicate"].schedule == eclip.schedule == CURRICULUM
    assert METHODS["duplicate"].has_processor


@pytest.mark.parametrize("name", METHODS)
def test_another_end_changes_those_methods_alone_that_have_the_curriculum(name):
    method = METHODS[name]
    ended = method.ending_at(0.05)
    if method.schedule == CURRICULUM:
        assert ended == replace(method, schedule=curriculum(0.05))
    else:
        assert ended == method


def test_the_controls_of_guided_attention_differ_from_it_in_one_thing_each():
    guided = METHODS["gaze_attention"]
    for name, gaze in {"shuffled": "shuffled", "mean": "mean", "oracle": "lesions"}.items():
        control = METHODS[f"{name}_attention"]
        assert control == replace(guided, name=control.name, gaze=gaze)
    unguided = METHODS["duplicate_always"]
    assert unguided == replace(guided, name=unguided.name, attends=False)
