"""Which statements follow from which, and which contradict each other."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.reporting.statements import Statement, compare


def verdict(text, passage):
    """With a text tower that takes both for nearly the same."""
    return compare(Statement.of(text), Statement.of(passage), 0.97)[0]


OPPOSITES = [
    ("Large left pneumothorax without effusion.", "No large left pneumothorax or effusion."),
    ("Large left effusion, no pneumothorax.", "Large left pneumothorax, no effusion."),
    ("The left effusion has not resolved.", "The left effusion has resolved."),
    ("Pneumothorax cannot be ruled out.", "Pneumothorax ruled out."),
    ("No increase in the left effusion.", "Increase in the left effusion."),
    ("Heart and mediastinum are normal.", "Heart is enlarged and mediastinum is normal."),
]
DIFFERENT = [
    ("Left effusion and right consolidation.", "Right effusion and left consolidation."),
    ("Left effusion and consolidation.", "Left effusion and right consolidation."),
    (
        "Bilateral effusions, right greater than left.",
        "Bilateral effusions, left greater than right.",
    ),
    ("Mild left and severe right effusion.", "Severe left and mild right effusion."),
    ("No change in the left effusion.", "Change in the left effusion."),
    ("No increase in the left effusion.", "No decrease in the left effusion."),
    ("The left effusion is unchanged.", "No increase in the left effusion."),
    ("Increase in the left pleural effusion.", "Left pleural effusion."),
    ("No effusion or interval change.", "No effusion."),
    ("The small left pleural effusion increased.", "The small left pleural effusion decreased."),
    ("A 5 mm nodule in the right lung.", "A 5 cm nodule in the right lung."),
    ("Right lower lung consolidation.", "Right lower lung atelectasis."),
    ("No effusion.", "No large effusion."),
    ("No left effusion.", "No right effusion."),
    ("The heart is normal.", "The lungs are hyperinflated but clear."),
    ("Calcified nodule.", "Non-calcified nodule."),
    ("Pneumonia.", "Atelectasis or pneumonia."),
    ("Pneumothorax.", "Possible pneumothorax."),
    ("Erguss.", "Kein Erguss."),
    ("Derrame pleural.", "Sin derrame pleural."),
    ("Épanchement.", "Pas d'épanchement."),
]


@pytest.mark.parametrize(("one", "other"), OPPOSITES)
def test_opposites_contradict_each_other(one, other):
    assert verdict(one, other) == verdict(other, one) == "contradicted"


@pytest.mark.parametrize(("text", "passage"), DIFFERENT)
def test_another_statement_in_nearly_the_same_words_supports_nothing(text, passage):
    assert verdict(text, passage) == "unsupported"


@pytest.mark.parametrize("text", [text for pair in [*OPPOSITES, *DIFFERENT] for text in pair])
def test_equal_texts_say_the_same(text):
    assert compare(Statement.of(text), Statement.of(text), 0.0) == ("supported", 1.0)


@pytest.mark.parametrize(
    ("text", "passage"),
    [
        ("No pneumothorax.", "Pneumothorax is absent."),
        ("No effusion or pneumothorax.", "There is no pneumothorax, nodule or effusion."),
        ("Heart size is normal.", "Heart size and vascularity are within normal limits."),
        ("Left effusion. No nodule.", "Small left effusion, without nodule."),
        ("Left lower lobe nodules.", "A nodule in the left lower lung zone."),
        ("Pneumonia cannot be excluded.", "Pneumonia is possible."),
    ],
)
def test_the_same_statements_in_other_words_are_supported(text, passage):
    assert verdict(text, passage) == "supported"


def test_every_clause_must_be_supported():
    passage = "Small left effusion."
    assert verdict("Left effusion.", passage) == "supported"
    assert verdict("Left effusion and nodule.", passage) == "unsupported"


FINDING = st.sampled_from(["effusion", "pneumothorax", "consolidation", "nodule"])
SIDE = st.sampled_from(["left", "right"])


@given(st.lists(st.tuples(SIDE, FINDING), min_size=1, max_size=3, unique=True), st.data())
def test_turning_a_side_or_denying_one_of_several_findings_is_never_supported(findings, data):
    clauses = [f"{side} {finding}" for side, finding in findings]
    place = data.draw(st.integers(0, len(clauses) - 1))
    turned = {"left": "right", "right": "left"}
    changed = data.draw(
        st.sampled_from(
            [
                f"no {clauses[place]}",
                re.sub("left|right", lambda match: turned[match[0]], clauses[place]),
            ]
        )
    )
    others = [*clauses[:place], changed, *clauses[place + 1 :]]
    if sorted(others) != sorted(clauses) and changed not in clauses:
        assert verdict(", ".join(others), ", ".join(clauses)) != "supported"
        assert verdict(" and ".join(others), " and ".join(clauses)) != "supported"


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_breaks_the_rules(text, passage):
    status, support = compare(Statement.of(text), Statement.of(passage), 0.5)
    assert status in ("supported", "contradicted", "unsupported")
    assert 0 <= support <= 1
