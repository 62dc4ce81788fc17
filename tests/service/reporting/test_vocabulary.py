"""Every word of a sentence comes from its passage, its synonyms, or a closed list."""

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.reporting.statements import Statement, compare
from service.reporting.synonyms import with_one_term
from service.reporting.vocabulary import GRAMMAR, fold
from service.reporting.wording import DOUBT, SEVERITY

PASSAGE = "Mild right lower lobe consolidation of 12 mm, seen since 3 March 2019."


def supported(text, passage=PASSAGE):
    return compare(Statement.of(text), Statement.of(passage), 0.99)[0] == "supported"


@pytest.mark.parametrize(
    "text",
    [
        "Mild right lower lobe consolidation of 12 mm, seen since 3 March 2019.",
        "There is a mild right lower lobe consolidation of 1.2 cm, noted since 3 March 2019.",
        "Right lower lobe consolidations.",
        "MILD RIGHT LOWER LOBE CONSOLIDATION.",
        "**Mild right lower lobe consolidation**.",
        "* Note: mild right lower lobe consolidation.",
        "Also, there is a mild consolidation at the right lower lobe.",
    ],
)
def test_what_adds_no_word_is_supported(text):
    assert supported(text)


@pytest.mark.parametrize(
    "text",
    [
        "Mild tuberculous right lower lobe consolidation.",
        "Mild tuber culous right lower lobe consolidation.",
        "Mild tuber-culous right lower lobe consolidation.",
        "Mild tuber\u00adculous right lower lobe consolidation.",
        "Mild right lower lobe con\u200bsolidation.",
        "Mild right lower lobe c\u043ensolidation.",
        "Mild right lower lobe \uff43onsolidation.",
        "Mild right lower lobe consolidation\x07.",
        "Two mild right lower lobe consolidations.",
        "Both lower lobes: mild right lower lobe consolidation.",
        "Mild right lower lobe consolidation of 13 mm.",
        "Mild right lower lobe consolidation of 12 cm.",
        "Mild right lower lobe consolidation of more than 12 mm.",
        "Mild right lower lobe consolidation of > 12 mm.",
        "Mild right lower lobe consolidation of 12 mm, seen since 12 March 2019.",
        "Mild right lower lobe consolidation of 12 mm, seen since 3 May 2019.",
        "Mild right lower lobe consolidation of 12 mm, seen since 2019 March 3.",
        "Mild right lower lobe consolidation remains.",
        "Mild right lower lobe consolidation, Zzdoe.",
        "Zzdoe's mild right lower lobe consolidation.",
        "Mild right lower lobe consolidation of 12 mm, An.",
        "Mild right lower lobe consolidation of 12 mm (An).",
        "MILD RIGHT LOWER LOBE CONSOLIDATION, AN.",
        "Mild right lower lobe Fields consolidation.",
        "Mild right lower lobe consolidation, Will.",
        "Mild right lower lobe consolidation after March.",
        "See, mild right lower lobe consolidation.",
        "Do has a mild right lower lobe consolidation.",
        "1) An's mild right lower lobe consolidation.",
        "Resolution of the mild right lower lobe consolidation.",
    ],
)
def test_what_adds_a_word_a_number_or_a_name_is_never_supported(text):
    assert not supported(text)


@pytest.mark.parametrize(
    ("text", "passage"),
    [
        ("No John Smith prior study for comparison.", "No prior study for comparison."),
        ("Effusion has not smithly resolved.", "The effusion has not resolved."),
        ("A nodule of 30 mm, 5 mm from the carina.", "A nodule of 5 mm, 30 mm from the carina."),
        ("A 3 cm nodule.", "A nodule 3 cm from the carina."),
        ("Fracture at L5.", "Fracture at T5 and L1."),
        ("Film of 05/12/2020.", "Film of 12/05/2020."),
        ("Pneumonia is likely.", "Pneumonia is possible."),
        ("Both lungs are consolidated.", "The left lung is consolidated."),
        ("Removal of the tube.", "No tube."),
        ("The right lung lacks normal volume.", "The right lung has normal volume."),
        ("5 week old fracture.", "5 day old fracture."),
        ("The tube ends at the carina.", "The tube ends 3 cm above the carina."),
        ("The carina is 3 cm above the tube.", "The tube is 3 cm above the carina."),
    ],
)
def test_what_the_rules_for_clauses_do_not_read_is_compared_too(text, passage):
    assert not supported(text, passage)
    assert supported(passage, passage)


def test_a_word_of_another_passage_supports_nothing(grounded):
    passages = ["Right lower lobe consolidation.", "A calcified granuloma."]
    assert grounded("Calcified right lower lobe consolidation.", passages) == "unsupported"
    assert (
        grounded("Right lower lobe consolidation and calcified granuloma.", passages)
        == "unsupported"
    )


SENTENCES = st.sampled_from(
    [
        "There is a small left pleural effusion.",
        "No pneumothorax.",
        "The cardiac silhouette is mildly enlarged with pulmonary vascular congestion.",
        "Moderate consolidation of the right lower lobe with air bronchograms.",
        "The lungs are clear.",
        "Possible pneumonia in the left base.",
        "No change in the 5 mm nodule.",
        "A calcified granuloma lies in the upper lobe near the fissure, beside surgical clips.",
    ]
)
LETTERS = st.text(string.ascii_letters, min_size=3, max_size=14)
NUMBER = st.integers(6, 99_999).map(str)
HIDDEN = st.builds(
    lambda word, place, sign: word[:place] + sign + word[place:],
    LETTERS,
    st.integers(0, 14),
    st.sampled_from(["\u00ad", "\u200b", "\u0430", "\u03bf", "-", " ", "'", ".", "_"]),
)


def is_new(word, passage):
    """Whether the word is neither of the passage nor of a closed list."""
    parts = [part for part in re.split(r"[^a-z0-9]+", word.lower()) if part]
    return any(
        part not in GRAMMAR
        and Statement.of(f"{part} word").needs > {"word"}
        and fold(part) not in Statement.of(passage).offers
        and with_one_term(part) == part
        and not SEVERITY.fullmatch(part)
        and not DOUBT.fullmatch(part)
        for part in parts
    )


@given(SENTENCES, LETTERS | NUMBER | HIDDEN, st.data())
def test_a_sentence_with_a_word_of_its_own_is_never_supported(passage, word, data):
    assume(is_new(word, passage))
    words = passage.removesuffix(".").split()
    place = data.draw(st.integers(0, len(words)))
    joint = data.draw(st.sampled_from(["{}", "{},", "of {}", "({})", "; {}", "{}'s"]))
    text = " ".join([*words[:place], joint.format(word), *words[place:]]) + "."
    assert not supported(text, passage)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("increased", "decreased"), ("hyperinflated", "hypoinflated"), ("changed", "unchanged"),
        ("resolving", "resolved"), ("enlarging", "enlarged"), ("clearing", "clear"),
        ("remarkable", "unremarkable"), ("intrapleural", "extrapleural"), ("normal", "abnormal"),
        ("symmetric", "asymmetric"), ("calcified", "noncalcified"), ("fusions", "effusions"),
    ],
)  # fmt: skip
def test_opposites_have_no_form_in_common(one, other):
    assert fold(one) != fold(other)


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ("effusions", "effusion"), ("opacities", "opacity"), ("masses", "mass"), ("bases", "base"),
        ("apices", "apex"), ("pneumothoraces", "pneumothorax"), ("atelectasis", "atelectasis"),
        ("calcifications", "calcified"), ("hilus", "hilum"), ("gas", "gas"), ("abscess", "abscess"),
    ],
)  # fmt: skip
def test_forms_of_a_word_are_one(form, word):
    assert fold(form) == word
