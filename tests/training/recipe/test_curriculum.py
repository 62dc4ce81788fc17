import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.recipe.curriculum import ALWAYS, CURRICULUM, HALF, NEVER, curriculum


@pytest.mark.parametrize(
    ("progress", "probability"),
    [
        (0, 0),
        (0.0999, 0),
        (0.1, 0.05),
        (0.25, 0.275),
        (0.4, 0.5),
        (0.6, 0.3),
        (0.8, 0.1),
        (0.9, 0.1),
        (1, 0.1),
    ],
)
def test_the_published_curriculum_has_its_golden_values(progress, probability):
    assert CURRICULUM(progress) == pytest.approx(probability)


@pytest.mark.parametrize("end", [0.05, 0.1, 0.5])
def test_a_curriculum_ends_where_it_is_asked_to_and_rises_alike(end):
    assert [curriculum(end)(progress) for progress in (0.8, 0.9, 1)] == pytest.approx([end] * 3)
    for progress in (0.0, 0.1, 0.3, 0.4):
        assert curriculum(end)(progress) == CURRICULUM(progress)


@given(st.floats(0, 1))
def test_it_is_always_a_probability(progress):
    for schedule in (CURRICULUM, HALF, ALWAYS, NEVER):
        assert 0 <= schedule(progress) <= 1


@given(st.floats(0, 1))
def test_constant_schedules_are_constant(progress):
    assert (NEVER(progress), HALF(progress), ALWAYS(progress)) == (0, 0.5, 1)
