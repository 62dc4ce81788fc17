import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.zero_shot import Finding
from service.reporting.evidence import Evidence
from service.reporting.grounding import Draft, Grounding, Statement, compare

PASSAGES = [
    "Moderate left pleural effusion blunts the costophrenic angle.",
    "No pneumothorax.",
    "Mild right lower lung consolidation.",
    "The heart is not enlarged.",
    "A 1.5 cm nodule is seen in the right upper lobe.",
    "Small bowel loops in the large hernia.",
]


@pytest.fixture
def checked(encoder, deadline):
    def check(text, *cited):
        evidence = [
            Evidence(number, f"p{number}", f"s{number}", "findings", passage, 0.5)
            for number, passage in enumerate(PASSAGES, start=1)
        ]
        (sentence,) = Grounding(evidence, (), encoder, deadline).check([Draft(text, cited)])
        return sentence

    return check


@pytest.mark.parametrize("number", range(1, len(PASSAGES) + 1))
def test_a_passage_supports_its_own_words(checked, number):
    sentence = checked(PASSAGES[number - 1], number)
    assert (sentence.status, sentence.support, sentence.evidence) == ("supported", 1.0, (number,))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("There is a moderate left pleural effusion.", 1),
        ("There is no pneumothorax.", 2),
        ("Consolidation in the right lower lung.", 3),
    ],
)
def test_a_rewording_is_supported(checked, text, number):
    assert checked(text, number).status == "supported"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("No left pleural effusion.", 1),
        ("Moderate right pleural effusion.", 1),
        ("Severe left pleural effusion.", 1),
        ("There is a pneumothorax.", 2),
        ("No right lower lung consolidation.", 3),
        ("Mild left lower lung consolidation.", 3),
        ("Mild right upper lung consolidation.", 3),
        ("A 2.5 cm nodule is seen in the right upper lobe.", 5),
        ("Large bowel loops in the large hernia.", 6),
        ("A pacemaker lead ends in the right ventricle.", 1),
        ("Moderate left pleural effusion with mediastinal shift and rib fractures.", 1),
    ],
)
def test_what_the_passage_does_not_say_is_never_supported(checked, text, number):
    assert checked(text, number).status != "supported"


@pytest.mark.parametrize("text", ["…", "There is.", "胸腔积液。", "Épanchement pleural gauche."])
def test_a_sentence_without_a_word_of_the_passage_is_never_supported(checked, text):
    assert checked(text, *range(1, len(PASSAGES) + 1)).status == "unsupported"


def test_a_denied_statement_is_contradicted(checked):
    assert checked("No right lower lung consolidation.", 3).status == "contradicted"


def test_only_the_passages_that_agree_stay_cited(checked):
    assert checked("No pneumothorax.", 1, 2, 3).evidence == (2,)


def test_evidence_that_does_not_exist_is_not_cited(checked):
    sentence = checked("No pneumothorax.", 99, -1)
    assert sentence.evidence == ()
    assert sentence.status == "unsupported"
    assert checked("No pneumothorax.").status == "unsupported"


def verdict(text, passage):
    """With a text tower that takes both for nearly the same."""
    return compare(Statement.of(text), Statement.of(passage), 0.97)[0]


OPPOSITES = [
    ("Large left pneumothorax without effusion.", "No large left pneumothorax or effusion."),
    ("Large left effusion, no pneumothorax.", "Large left pneumothorax, no effusion."),
    ("The left effusion has not resolved.", "The left effusion has resolved."),
    ("Pneumothorax cannot be ruled out.", "Pneumothorax ruled out."),
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
    ("The small left pleural effusion increased.", "The small left pleural effusion decreased."),
    ("A 5 mm nodule in the right lung.", "A 5 cm nodule in the right lung."),
    ("Right lower lung consolidation.", "Right lower lung atelectasis."),
    ("No effusion.", "No large effusion."),
    ("No left effusion.", "No right effusion."),
    ("No nodule.", "No effusion except a nodule."),
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


@pytest.fixture
def grounding(encoder, deadline):
    """Of passages, each of a study of its own with its score, and of zero-shot findings."""

    def read(*said, findings=()):
        evidence = [
            Evidence(number, f"p{number}", f"s{number}", "findings", text, score)
            for number, (text, score) in enumerate(said, start=1)
        ]
        return Grounding(evidence, findings, encoder, deadline)

    return read


def test_evidence_that_says_the_opposite_is_named_though_nobody_cites_it(grounding):
    passages = ("Left pneumothorax.", 0.5), ("No pneumothorax.", 0.2), ("Clear lungs.", 0.2)
    (sentence,) = grounding(*passages).check([Draft("Left pneumothorax.", (1,))])
    assert (sentence.status, sentence.evidence, sentence.against) == ("supported", (1,), (2,))


def test_what_most_of_the_evidence_denies_is_contradicted_whichever_passage_says_it(grounding):
    passages = [("Left pneumothorax.", 0.5), ("No pneumothorax.", 0.5), ("No pneumothorax.", 0.5)]
    for text, cited, status in (
        ("Left pneumothorax.", 1, "contradicted"),
        ("No pneumothorax.", 2, "supported"),
    ):
        (sentence,) = grounding(*passages).check([Draft(text, (cited,))])
        assert sentence.status == status


def test_one_near_study_outweighs_several_far_ones(grounding):
    far = [("No pneumothorax.", 0.2)] * 5
    (sentence,) = grounding(("Left pneumothorax.", 0.9), *far).check(
        [Draft("Left pneumothorax.", (1,))]
    )
    assert (sentence.status, sentence.against) == ("supported", (2, 3, 4, 5, 6))


def finding(label, probability, *, calibrated=True, abstained=False):
    return Finding(label, 0.5, probability, calibrated, abstained)


@pytest.mark.parametrize(
    ("text", "given", "agreement"),
    [
        ("Moderate left pleural effusion.", finding("pleural effusion", 0.9), "agrees"),
        ("Moderate left pleural effusion.", finding("pleural effusion", 0.1), "disagrees"),
        ("No pleural effusion.", finding("pleural effusion", 0.9), "disagrees"),
        ("No pleural effusion.", finding("pleural effusion", 0.1), "agrees"),
        ("No pleural effusions or nodules.", finding("nodule", 0.9), "disagrees"),
        ("No large pleural effusion.", finding("pleural effusion", 0.9), None),
        ("Possible pleural effusion.", finding("pleural effusion", 0.1), None),
        ("The heart is enlarged.", finding("pleural effusion", 0.9), None),
        ("No pleural effusion.", finding("pleural effusion", 0.9, calibrated=False), None),
        ("No pleural effusion.", finding("pleural effusion", 0.6, abstained=True), None),
        ("No nodule.", finding("no finding", 0.9), None),
        ("The lungs are clear.", finding("normal", 0.1), None),
    ],
)
def test_the_zero_shot_findings_have_their_say_where_they_are_sure(
    grounding, text, given, agreement
):
    (sentence,) = grounding((text, 0.5), findings=[given]).check([Draft(text, (1,))])
    assert (sentence.zero_shot, sentence.status) == (agreement, "supported")
