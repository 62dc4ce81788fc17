"""Drafts are checked against the evidence of a report."""

import pytest

from service.inference.zero_shot import Finding
from service.reporting.evidence_set import EvidenceSet
from service.reporting.grounding import Grounding
from service.reporting.sentences import Draft
from tests.support.evidence import embedded, passage

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
        passages = [passage(number, said) for number, said in enumerate(PASSAGES, start=1)]
        evidence = embedded(passages, encoder, deadline)
        return Grounding(evidence, (), encoder, deadline).check(Draft("findings", text, cited))

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


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("There is a left pleural effusion.", "supported"),
        ("The left pleural effusion is unchanged.", "supported"),
        ("No left pleural effusion.", "contradicted"),
        ("The left pleural effusion has increased.", "unsupported"),
    ],
)
def test_a_comparison_is_evidence_of_presence(grounding, text, status):
    passage = ("No significant interval change in the left pleural effusion.", 0.5)
    assert grounding(passage).check(Draft("findings", text, (1,))).status == status


def test_a_denied_statement_is_contradicted(checked):
    assert checked("No right lower lung consolidation.", 3).status == "contradicted"


def test_only_the_passages_that_agree_stay_cited(checked):
    assert checked("No pneumothorax.", 1, 2, 3).evidence == (2,)


def test_evidence_that_does_not_exist_is_not_cited(checked):
    sentence = checked("No pneumothorax.", 99, -1)
    assert sentence.evidence == ()
    assert sentence.status == "unsupported"
    assert checked("No pneumothorax.").status == "unsupported"


@pytest.fixture
def grounding(encoder, deadline):
    """Of passages, each of a study of its own with its score, and of zero-shot findings."""

    def read(*said, findings=()):
        passages = [
            passage(number, text, score=score) for number, (text, score) in enumerate(said, start=1)
        ]
        return Grounding(embedded(passages, encoder, deadline), findings, encoder, deadline)

    return read


class NoEncoder:
    """Embeds nothing."""

    def texts(self, *_):
        raise AssertionError("a passage's own words were embedded again")


def test_a_passages_own_words_are_compared_by_the_stored_vectors(encoder, deadline):
    passages = [passage(1, "Left pneumothorax."), passage(2, "No effusion is seen on the left.")]
    grounding = Grounding(embedded(passages, encoder, deadline), (), NoEncoder(), deadline)
    for item in passages:
        assert grounding.check(Draft("findings", item.text, (item.number,))).status == "supported"


def test_without_evidence_a_draft_is_unsupported(deadline):
    grounding = Grounding(EvidenceSet([]), (), NoEncoder(), deadline)
    sentence = grounding.check(Draft("findings", "Left pneumothorax.", (1,)))
    assert (sentence.status, sentence.evidence, sentence.support) == ("unsupported", (), 0.0)


def test_evidence_that_says_the_opposite_is_named_though_nobody_cites_it(grounding):
    passages = ("Left pneumothorax.", 0.5), ("No pneumothorax.", 0.2), ("Clear lungs.", 0.2)
    sentence = grounding(*passages).check(Draft("findings", "Left pneumothorax.", (1,)))
    assert (sentence.status, sentence.evidence, sentence.against) == ("supported", (1,), (2,))


def test_what_most_of_the_evidence_denies_is_contradicted_whichever_passage_says_it(grounding):
    passages = [("Left pneumothorax.", 0.5), ("No pneumothorax.", 0.5), ("No pneumothorax.", 0.5)]
    for text, cited, status in (
        ("Left pneumothorax.", 1, "contradicted"),
        ("No pneumothorax.", 2, "supported"),
    ):
        sentence = grounding(*passages).check(Draft("findings", text, (cited,)))
        assert sentence.status == status


def test_one_near_study_outweighs_several_far_ones(grounding):
    far = [("No pneumothorax.", 0.2)] * 5
    near = ("Left pneumothorax.", 0.9)
    sentence = grounding(near, *far).check(Draft("findings", "Left pneumothorax.", (1,)))
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
    sentence = grounding((text, 0.5), findings=[given]).check(Draft("findings", text, (1,)))
    assert (sentence.zero_shot, sentence.status) == (agreement, "supported")
