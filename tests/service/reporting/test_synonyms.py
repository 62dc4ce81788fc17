"""One term stands for each of the terms for the same thing, and lengths are in millimetres."""

import pytest

from service.reporting.statements import Statement, compare
from service.reporting.synonyms import with_one_term

SAME = [
    ("Mild cardiomegaly.", "The heart is mildly enlarged."),
    ("The cardiac silhouette is enlarged.", "There is cardiac enlargement."),
    ("Small pleural effusion.", "Small amount of pleural fluid."),
    ("RLL nodule.", "There is a nodule in the right lower lobe."),
    ("A pulmonary nodule.", "Lung nodules."),
    ("Stable cardiomegaly.", "Cardiomegaly is unchanged."),
    ("Bony structures are unremarkable.", "The osseous structures are within normal limits."),
    ("The ETT ends 4 cm above the carina.", "The endotracheal tube ends 40 mm above the carina."),
    ("The line terminates in the SVC.", "The line ends in the superior vena cava."),
    ("Calcifications of the aorta.", "Calcified aorta."),
    ("The left costophrenic angle is blunted.", "Blunting of the left costophrenic sulcus."),
    ("Bibasilar atelectasis.", "Bilateral basilar atelectasis."),
]
DIFFERENT = [
    ("Opacity in the left lung.", "Consolidation in the left lung."),
    ("Pleural effusion.", "Effusion."),
    ("The effusion has increased.", "The effusion has decreased."),
    ("Hyperinflated lungs.", "Hypoinflated lungs."),
    ("The effusion is changed.", "The effusion is unchanged."),
    ("The nodule is enlarged.", "The nodule is enlarging."),
    ("A 20 mm nodule.", "A 20 cm nodule."),
    ("The liver is enlarged in its left lobe.", "The left lung is enlarged."),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_terms_for_the_same_thing_support_each_other_where_no_word_is_left_out(one, other):
    said = [
        compare(Statement.of(a), Statement.of(b), 0.9)[0] for a, b in ((one, other), (other, one))
    ]
    assert said in (["supported", "supported"], ["supported", "unsupported"])


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_terms_for_other_things_and_opposites_never_meet(one, other):
    assert compare(Statement.of(one), Statement.of(other), 0.99)[0] != "supported"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1.5 cm", "15mm"),
        ("15 millimetres", "15mm"),
        ("2 x 3 cm", "20mm x 30mm"),
        ("2x3cm", "20mm x 30mm"),
        ("1.1 CM", "11mm"),
        ("1234567 mm", "1234567mm"),
        ("2-3 cm", "20mm-30mm"),
        ("2 cm by 4 mm", "20mm by 4mm"),
        ("on 12/05/2020", "on 12/05/2020"),
    ],
)
def test_lengths_are_in_millimetres(text, plain):
    assert with_one_term(text) == plain


def test_letters_of_other_words_keep_their_case():
    assert with_one_term("Cardiomegaly, Smith.") == "enlarged heart, Smith."


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text", ["1" * 20_000, "1-" * 10_000, "1 x " * 10_000, "heart size is " * 5_000]
)
def test_a_long_text_takes_no_long_time(text):
    with_one_term(text + "c")
