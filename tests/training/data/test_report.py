import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.report import description, sections, titled

SENTENCES = (
    "Lungs are clear.",
    "No pleural effusion or\n pneumothorax.",
    "Comparison is made to ___: unchanged.",
    "1. Mild edema.\n 2. Tube at T4.",
    "The heart is enlarged, findings as before.",
)
BODIES = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=3)
OTHERS = ("EXAMINATION", "INDICATION", "PA AND LATERAL CHEST", "TECHNIQUE", "COMPARISON")
FINDINGS = ("FINDINGS", "FINDING", "CHEST FINDINGS")
IMPRESSIONS = ("IMPRESSION", "CONCLUSIONS", "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION")
PARTS = st.lists(
    st.tuples(st.sampled_from((*OTHERS, *FINDINGS, *IMPRESSIONS)), BODIES), min_size=1, max_size=6
)
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough  // ?pneumonia

 COMPARISON:  ___ at 10:30

 FINDINGS:

 Heart size is normal.  The lungs
 are clear.

 IMPRESSION:

 No acute process.
"""


def one_line(text):
    return " ".join(text.split())


def write(parts):
    laid_out = (f" {heading}:  \n\n " + "\n\n ".join(body) for heading, body in parts)
    return "                 FINAL REPORT\n" + "\n\n".join(laid_out) + "\n"


@given(st.text() | PARTS.map(write))
def test_headings_and_bodies_joined_are_the_report_to_the_letter(text):
    assert "".join(part.heading + part.body for part in sections(text)) == text


@given(PARTS)
def test_every_section_is_found_with_its_own_text(parts):
    found = [
        (part.heading.strip().removesuffix(":"), one_line(part.body))
        for part in sections(write(parts))
    ]
    written = [(heading, one_line(" ".join(body))) for heading, body in parts]
    assert found == [("", ""), ("FINAL REPORT", ""), *written]


@given(PARTS)
def test_the_description_loses_and_invents_nothing(parts):
    def all_of(headings):
        return one_line(" ".join(" ".join(body) for heading, body in parts if heading in headings))

    expected = titled(all_of(FINDINGS), all_of(IMPRESSIONS))
    assert description(write(parts)) == (expected or one_line(parts[-1][1][-1]))


def test_findings_and_impression_are_the_description():
    assert description(REPORT) == (
        "FINDINGS: Heart size is normal. The lungs are clear. IMPRESSION: No acute process."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FINDINGS: Clear. IMPRESSION: Normal.", "FINDINGS: Clear. IMPRESSION: Normal."),
        ("INDICATION: Cough.\nIMPRESSION: Normal.", "IMPRESSION: Normal."),
        ("INDICATION: Cough.\nFINDINGS: Clear.", "FINDINGS: Clear."),
        ("INDICATION: Cough.\nFINDINGS:\nIMPRESSION: Normal.", "IMPRESSION: Normal."),
        ("INDICATION: Cough.\n\n Lungs clear.\n \n Heart\n normal.\n\n", "Heart normal."),
        ("CHEST, TWO VIEWS:  Lungs clear.", "Lungs clear."),
        ("Lungs clear.", "Lungs clear."),
        ("FINAL REPORT\nINDICATION:", ""),
        ("", ""),
    ],
    ids=[
        "on one line",
        "impression",
        "findings",
        "blank findings",
        "last paragraph",
        "view as heading",
        "no heading",
        "nothing",
        "empty",
    ],
)
def test_what_is_missing_falls_back_in_the_stated_order(text, expected):
    assert description(text) == expected


def test_an_addendum_adds_to_the_report_below_it():
    text = "FINAL ADDENDUM\n IMPRESSION: Also a nodule.\n FINAL REPORT\n IMPRESSION: Normal.\n"
    assert description(text) == "IMPRESSION: Also a nodule. Normal."


@pytest.mark.parametrize("line", ["Seen at 10:30.", "AP view.", "Lungs: clear.", "I. IMPRESSED:x"])
def test_a_line_that_is_no_heading_stays_in_its_section(line):
    assert description(f"FINDINGS: Before.\n{line}\nAfter.") == f"FINDINGS: Before. {line} After."
