"""What a study's headers name does not stay in its report."""

import re
import unicodedata
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.bundle.report_text import described
from service.errors import StudyInvalid
from service.studies.scrubbing import _STAY, MARK, Identity, scrubbed

DAY = date(2026, 3, 12)


def without(text, *, people=(), ids=(), phrases=(), dates=()):
    named = Identity(*map(frozenset, (people, ids, phrases, dates)))
    return scrubbed(text, named)


@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("Doe^Jane^Ann", "Jane Ann Doe, 61, coughs.", "___ ___ ___, 61, coughs."),
        ("Doe^Jane", "Mrs. DOE's lungs; doe.", "Mrs. ___'s lungs; ___."),
        ("Doe^Jane^^Dr.^MD", "Dr. Doe MD.", "Dr. ___ MD."),
        ("Müller^Jörg", "Mueller, Muller, MÜLLER, Mu\u0308ller.", "___, ___, ___, ___."),
        ("MUELLER^JOERG", "Jörg Müller and Jorg Muller.", "___ ___ and ___ ___."),
        ("O'Brien^Mary-Ann", "Mary Ann OBrien, O'Brien.", "___ ___, ___."),
        ("Sørensen^Åse", "Soerensen, Sorensen, Ase.", "___, ___, ___."),
        ("van der Berg^Li", "van der Berg, Li, under.", "van der ___, Li, under."),
        ("Doe", "Doest, undoe, Doe2, doe_1.", "Doest, undoe, ___2, ____1."),
        ("Yamada^Tarou=山田^太郎", "Yamada 山田太郎氏、太郎。", "___ ___氏、___。"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "홍길동 환자.", "___ 환자."),
        ("Not^Without", "Not clear, without effusion.", "Not clear, without effusion."),
        ("No^Li", "No effusion.", "No effusion."),
        ("ANONYMOUS^PATIENT", "The patient coughs.", "The patient coughs."),
        ("Stone^Rib", "A stone near the left rib.", "A ___ near the left ___."),
        ("Иванов^Пётр", "Петр ИВАНОВ.", "___ ___."),
        ("Müller^Ann", "M&uuml;ller, M&#252;ller, Ann&nbsp;M.", "___, ___, ___&nbsp;M."),
        ("O'Connor", "O&#39;Connor, O&apos;Connor\u2019s.", "___, ___\u2019s."),
        ("Schneider", "Sch\u200bneider, Schnei-\n  der, left-\nsided.", "___, ___, left-\nsided."),
        ("Smith", "Jones &Smith; agree.", "Jones &___; agree."),
        ("Smith-Jones", "Smith-\nJones, Smith-\nKline.", "___, ___-\nKline."),
    ],
)  # fmt: skip
def test_a_persons_name_is_removed_in_any_spelling(name, text, left):
    assert without(text, people=[name]) == left


@pytest.mark.parametrize(
    ("value", "text", "left"),
    [
        ("MRN-12345", "MRN 12345, mrn12345, MRN_12345.", "___, ___, ___."),
        ("0012345", "No. 0012345; 10012345.", "No. ___; 10012345."),
        ("+49 (30) 123-456", "Call +49 30 123 456 now.", "Call +___ now."),
        ("MRN-990017", "MRN: 990017, #990017.", "___, #___."),
        ("H123456", "h-123456, 1234567.", "h-___, 1234567."),
        ("123", "Level 123.", "Level 123."),
        ("A1", "A1.", "A1."),
    ],
)
def test_an_id_is_removed_whatever_its_punctuation(value, text, left):
    assert without(text, ids=[value]) == left


@pytest.mark.parametrize(
    ("value", "text", "left"),
    [
        ("St. Mary's Hospital, Leeds", "St Mary's hospital in Leeds.", "___ in ___."),
        ("Oak Street 12\r\nSpringfield", "At Oak Street 12 in SPRINGFIELD.", "At ___ in ___."),
        ("Radiology", "Radiology report.", "Radiology report."),
        ("General Hospital", "The general hospital.", "The general hospital."),
        ("Charité – Mitte", "Charite.", "___."),
        ("Spital Zürich", "Spital Zuerich.", "___."),
    ],
)
def test_a_place_is_removed_as_a_whole(value, text, left):
    assert without(text, phrases=[value]) == left


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-12", "20260312", "2026/03/12", "2026.3.12", "12.03.2026", "12.3.2026",
        "12/03/2026", "03/12/2026", "3/12/2026", "12-3-2026", "12 March 2026", "12 Mar 2026",
        "12th of March, 2026", "March 12, 2026", "Mar. 12 2026", "12-Mar-2026", "12. März 2026",
        "12 mars 2026", "12 de marzo de 2026", "12 maart 2026", "2026年3月12日", "12.03.26",
        "3/12/26", "12-Mar-26", "2026 Mar 12", "2026-Mar-12", "2026, March 12", "12.\n03.2026",
        "12 March\n2026", "20260312T101500", "12032026", "03122026",
        "March 12, '26", "20260312101500", "March 12th, 2026",
    ],
)  # fmt: skip
def test_a_date_is_removed_in_any_form(written):
    text = f"Compared with {written}, the lungs are clear."
    assert without(text, dates=[DAY]) == "Compared with ___, the lungs are clear."


@pytest.mark.parametrize(
    "kept",
    ["3.5 x 12.2 cm", "1.2.2026.4", "L3/4/5", "in 2026", "March", "12/26", "4/5/26", "T12-3-45",
     "C3-4-5", "20261312", "40/40/2026", "5 marked 2010", "12.5.2 mm", "may 2 nodules"],
)  # fmt: skip
def test_what_is_no_date_or_not_the_studys_with_two_digits_stays(kept):
    assert without(f"A {kept}.", dates=[DAY]) == f"A {kept}."


def test_other_dates_with_a_year_are_removed_too_and_uids():
    text = "Since 1 Feb 2019 (1.2.840.113619.2.55.3.604688119) as on 2/1/2019 and 5-12-03-2026."
    assert without(text) == "Since ___ (___) as on ___ and 5-___."
    assert without("Of 2.25.329800735698586629295641978511506172918.") == "Of ___."


def test_what_is_left_is_read_as_before():
    text = "FINDINGS:\nJane Doe has clear lungs.\n\nIMPRESSION:\nNormal."
    left = without(text, people=["Findings^Impression^Doe", "Doe^Jane"])
    assert described(left) == [
        ("findings", "___ ___ has clear lungs."),
        ("impression", "Normal."),
    ]


def test_a_long_text_is_read_in_time_that_grows_with_its_length():
    text = "a-" + "\n" * 200_000 + "&" * 200_000
    assert without(text, people=["Smith^Ann"], dates=[DAY]) == text


def test_more_names_than_a_study_has_are_refused():
    with pytest.raises(StudyInvalid, match="too many people"):
        without("Clear.", people=[f"Name{'abcdefghij'[n % 10]}{n}^x" for n in range(2000)])


LETTERS = st.characters(
    categories=["Lu", "Ll"], include_characters="äöüßéñøłÅ", max_codepoint=0x24F
)
NAMES = st.text(LETTERS, min_size=3, max_size=12)
WORDS = st.lists(st.text(min_size=0, max_size=12), max_size=8)


def plain(text):
    """Text without case and accents, by other means than the module's."""
    divided = unicodedata.normalize("NFD", text.casefold())
    return "".join(c for c in divided if not unicodedata.combining(c))


@given(name=NAMES, before=WORDS, after=WORDS, data=st.data())
@example(name="Doe", before=["Doe"], after=["doe", "Doe-Doe"], data=None)
def test_no_name_is_left_in_any_text(name, before, after, data):
    case = data.draw(st.sampled_from([str, str.upper, str.lower])) if data else str
    text = " ".join([*before, case(name), *after])
    left = without(text, people=[f"{name}^X"])
    if plain(name) not in _STAY:
        words = re.findall(r"[^\W\d_]+", plain(left))
        assert plain(name) not in words


@given(text=st.text(), name=NAMES, number=st.from_regex(r"[0-9]{4,10}", fullmatch=True))
def test_scrubbing_twice_is_scrubbing_once_and_adds_only_marks(text, name, number):
    named = Identity(frozenset([name]), frozenset([number]), frozenset(), frozenset([DAY]))
    once = scrubbed(text, named)
    assert scrubbed(once, named) == once
    pieces = iter(text)
    assert all(c in pieces for c in once.replace(MARK, ""))


@given(day=st.dates(date(1900, 1, 1), date(2099, 12, 31)), text=st.text(max_size=20))
def test_no_date_of_the_headers_is_left(day, text):
    forms = (f"{day:%Y%m%d}", f"{day:%Y-%m-%d}", f"{day:%d.%m.%Y}", f"{day:%B %d, %Y}")
    for form in (*forms, f"{day.day}.{day.month}.{day:%y}", f"{day:%d %b %y}"):
        assert form not in without(f"{text} {form} {text}", dates=[day])
