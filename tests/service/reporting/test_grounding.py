import pytest

from service.reporting.evidence import Evidence
from service.reporting.grounding import Draft, ground

PASSAGES = [
    "Moderate left pleural effusion blunts the costophrenic angle.",
    "No pneumothorax.",
    "Mild right lower lung consolidation.",
    "The heart is not enlarged.",
    "A 1.5 cm nodule is seen in the right upper lobe.",
]


@pytest.fixture
def checked(encoder, deadline):
    def check(text, *cited):
        evidence = [
            Evidence(number, f"p{number}", f"s{number}", "findings", passage, 0.5)
            for number, passage in enumerate(PASSAGES, start=1)
        ]
        (sentence,) = ground([Draft(text, cited)], evidence, encoder, deadline)
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
