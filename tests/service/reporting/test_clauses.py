"""What the rules hear in a sentence: words, particulars, and whether they are denied."""

import pytest

from service.reporting.clauses import parse_clauses
from service.reporting.polarity import normalise
from service.reporting.statements import Statement


def heard(sentence):
    """One "+finding", "-finding" or "?finding" a clause; "~" for a doubted one."""
    signs = {"affirmed": "+", "denied": "-", "unclear": "?"}
    return [
        signs[clause.polarity]
        + "~" * clause.doubted
        + " ".join([*sorted(clause.particulars), *sorted(clause.words)])
        for clause in Statement.of(sentence).clauses
    ]


@pytest.mark.parametrize(
    ("sentence", "clauses"),
    [
        ("No large left pneumothorax or effusion.", ["-large left pneumothorax", "-effusion"]),
        ("Large left pneumothorax without effusion.", ["+large left pneumothorax", "-effusion"]),
        ("Left effusion, no pneumothorax.", ["+left effusion", "-pneumothorax"]),
        ("No effusion, consolidation, or nodule.", ["-effusion", "-consolidation", "-nodule"]),
        ("Neither effusion nor nodule is seen.", ["-effusion", "-nodule"]),
        ("No effusion but left nodule.", ["-effusion", "+left nodule"]),
        ("No effusion and the heart is enlarged.", ["-effusion", "+enlarged heart"]),
        ("Edema, rather than effusion.", ["+edema", "-effusion"]),
        ("Lungs: no effusion.", ["-effusion lung"]),
    ],
)
def test_a_cue_denies_what_follows_to_the_end_of_its_scope(sentence, clauses):
    assert heard(sentence) == clauses


@pytest.mark.parametrize(
    ("sentence", "clauses"),
    [
        ("Left effusion is absent.", ["-left effusion"]),
        ("There was a left effusion, which has resolved.", ["-left effusion"]),
        ("Pneumothorax has been ruled out.", ["-pneumothorax"]),
        ("Heart and mediastinum are normal.", ["-heart normal", "-mediastinum normal"]),
        ("Left effusion is seen, lungs clear.", ["+left effusion", "-lung normal"]),
        ("Left effusion has not completely resolved.", ["+left persistent effusion"]),
        ("Pneumothorax cannot be ruled out.", ["+~pneumothorax"]),
        ("Pneumothorax isn't excluded.", ["+~pneumothorax"]),
        ("No resolution of the effusion.", ["+persistent effusion"]),
        ("The left base is not clear.", ["+abnormal base left base"]),
        ("No change in the effusion.", ["+unchanged effusion"]),
    ],
)
def test_a_cue_after_a_finding_denies_or_affirms_what_stands_before_it(sentence, clauses):
    assert heard(sentence) == [" ".join(clause.split()) for clause in clauses]


@pytest.mark.parametrize(
    ("sentence", "clauses"),
    [
        ("No effusion, mild edema.", ["-effusion", "?mild edema"]),
        ("No effusion and edema.", ["-effusion", "?edema"]),
        ("Large left effusion and lungs clear.", ["?large left effusion", "-lung normal"]),
        ("Heart and mediastinum are enlarged.", ["?heart", "+enlarged mediastinum"]),
        ("No effusion except on the left.", ["?effusion", "?left"]),
        ("CT to rule out a nodule.", ["?ct nodule"]),
        ("No clear effusion.", ["?effusion normal"]),
        ("Kein Erguss.", ["?erguss kein"]),
        ("无胸腔积液。", ["?无胸腔积液"]),
    ],
)
def test_what_grammar_leaves_open_is_unclear(sentence, clauses):
    assert heard(sentence) == clauses


@pytest.mark.parametrize(
    ("sentence", "clauses"),
    [
        ("Scarring or atelectasis.", ["+~scar", "+~atelectasis"]),
        ("Left and right lungs are clear.", ["-left right lung normal"]),
        ("A 1.5 cm nodule in the left upper zone.", ["+15mm left upper lung nodule"]),
        ("1. Small bilateral effusions.", ["+bilateral small effusion"]),
        ("There is.", []),
        ("…", []),
    ],
)
def test_lists_sides_numbers_and_nothing_are_read(sentence, clauses):
    assert heard(sentence) == clauses


def test_a_side_that_a_list_names_may_be_meant_of_all_of_it():
    effusion, nodule = parse_clauses("left effusion and nodule")
    assert (effusion.implied, nodule.implied) == (frozenset(), {"left"})
    _, edema = parse_clauses("left effusion, no edema")
    assert edema.implied == frozenset()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ["no nodule, " * 2000, "nodule; " * 100, "normal " * 3000])
def test_what_is_too_long_for_a_sentence_is_one_unclear_clause(text):
    (clause,) = parse_clauses(normalise(text))
    assert clause.polarity == "unclear"
