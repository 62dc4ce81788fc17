import pytest

from training.data.report import description, titled

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


def test_findings_and_impression_are_the_description():
    assert description(REPORT) == (
        "FINDINGS: Heart size is normal. The lungs are clear. IMPRESSION: No acute process."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IMPRESSION: Normal. FINDINGS: Clear.", "FINDINGS: Clear. IMPRESSION: Normal."),
        ("INDICATION: Cough.\nIMPRESSION: Normal.", "IMPRESSION: Normal."),
        ("FINDINGS/IMPRESSION: Normal.", "Normal."),
        ("FINAL REPORT\nLungs clear.", "Lungs clear."),
        ("FINAL REPORT\nINDICATION: Cough.", ""),
        ("", ""),
    ],
)
def test_each_kind_of_section_has_its_heading(text, expected):
    assert description(text) == expected


def test_a_blank_section_has_no_heading():
    assert titled(" ", "Normal\n chest.") == "IMPRESSION: Normal chest."
