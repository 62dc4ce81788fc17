"""What training reads of a report, and what the service stores and may cite, are the same."""

import csv
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundle.report_sentences import is_administrative, sentences
from service.bundle.report_text import described, kind_of, sections
from service.cases.passages import split_report
from service.reporting.evidence import citable
from training.data.report import description, titled

F, C, B = "findings", "impression", "both"
EFFUSION, HEART = "Small left effusion.", "Heart is normal."
TWO = f"{EFFUSION} {HEART}"

STYLES = {
    # headings of a description and of a conclusion
    "findings": (f"FINDINGS: {TWO}", [(F, EFFUSION), (F, HEART)]),
    "finding": (f"FINDING: {EFFUSION}", [(F, EFFUSION)]),
    "chest findings": (f"CHEST FINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "incidental findings": (f"INCIDENTAL FINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "observations": (f"OBSERVATIONS: {EFFUSION}", [(F, EFFUSION)]),
    "results": (f"RESULTS: {EFFUSION}", [(F, EFFUSION)]),
    "description": (f"DESCRIPTION: {EFFUSION}", [(F, EFFUSION)]),
    "impression": (f"IMPRESSION: {EFFUSION}", [(C, EFFUSION)]),
    "impressions": (f"IMPRESSIONS: {EFFUSION}", [(C, EFFUSION)]),
    "conclusion": (f"CONCLUSION: {EFFUSION}", [(C, EFFUSION)]),
    "conclusions": (f"CONCLUSIONS: {EFFUSION}", [(C, EFFUSION)]),
    "opinion": (f"OPINION: {EFFUSION}", [(C, EFFUSION)]),
    "interpretation": (f"INTERPRETATION: {EFFUSION}", [(C, EFFUSION)]),
    "summary": (f"SUMMARY: {EFFUSION}", [(C, EFFUSION)]),
    "assessment": (f"ASSESSMENT: {EFFUSION}", [(C, EFFUSION)]),
    "diagnosis": (f"DIAGNOSIS: {EFFUSION}", [(C, EFFUSION)]),
    "with recommendation": (f"IMPRESSION/RECOMMENDATIONS: {EFFUSION}", [(C, EFFUSION)]),
    "findings and impression": (f"FINDINGS AND IMPRESSION: {TWO}", [(B, EFFUSION), (B, HEART)]),
    "findings, slash": (f"FINDINGS/IMPRESSION: {EFFUSION}", [(B, EFFUSION)]),
    "impression, slash": (f"IMPRESSION / FINDINGS: {EFFUSION}", [(B, EFFUSION)]),
    "findings & impression": (f"Findings & impression: {EFFUSION}", [(B, EFFUSION)]),
    "both and impression": (
        f"FINDINGS AND IMPRESSION: {EFFUSION}\nIMPRESSION: {HEART}",
        [(B, EFFUSION), (C, HEART)],
    ),
    # how headings are written
    "lower case": (f"findings: {EFFUSION}\nimpression: {HEART}", [(F, EFFUSION), (C, HEART)]),
    "title case": (f"Findings: {EFFUSION}\nImpression: {HEART}", [(F, EFFUSION), (C, HEART)]),
    "title case on one line": (
        f"Findings: {EFFUSION} Impression: {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "one line": (f"FINDINGS: {EFFUSION} IMPRESSION: {HEART}", [(F, EFFUSION), (C, HEART)]),
    "no colon": (f"FINDINGS\n{EFFUSION}\n\nIMPRESSION\n{HEART}", [(F, EFFUSION), (C, HEART)]),
    "title case, no colon": (f"Findings\n{EFFUSION}", [(F, EFFUSION)]),
    "blank before the colon": (f"FINDINGS : {EFFUSION}", [(F, EFFUSION)]),
    "no blank after the colon": (
        f"FINDINGS:{EFFUSION}\nIMPRESSION:{HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "wide colon": ("FINDINGS：Small effusion.", [(F, "Small effusion.")]),
    "dash": (f"IMPRESSION - {EFFUSION}", [(C, EFFUSION)]),
    "full stop": (f"IMPRESSION. {EFFUSION}", [(C, EFFUSION)]),
    "markdown bold": (
        f"**FINDINGS:** {EFFUSION}\n**Impression**: {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "markdown heading": (f"## Findings\n\n{EFFUSION}\n", [(F, EFFUSION)]),
    "byte order mark": (f"\ufeffFINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "carriage returns": (f"FINDINGS\r\n{EFFUSION}\r\n", [(F, EFFUSION)]),
    "underlined": (f"FINDINGS:\n---------\n{EFFUSION}", [(F, EFFUSION)]),
    "numbered": (f"1. FINDINGS: {EFFUSION}\n2. IMPRESSION: {HEART}", [(F, EFFUSION), (C, HEART)]),
    "indented": (f"   FINDINGS:\n\n   {EFFUSION}\n", [(F, EFFUSION)]),
    "impression first": (f"IMPRESSION: {HEART}\nFINDINGS: {EFFUSION}", [(C, HEART), (F, EFFUSION)]),
    "misspelt": (f"IMORESSION: {EFFUSION}", [(C, EFFUSION)]),
    "misspelt findings": (f"FINSINGS: {EFFUSION}", [(F, EFFUSION)]),
    "all capitals": (
        "THE LUNGS ARE CLEAR: NO EFFUSION.\nIMPRESSION: NORMAL.",
        [(F, "THE LUNGS ARE CLEAR: NO EFFUSION."), (C, "NORMAL.")],
    ),
    # no heading of a description
    "no heading": (TWO, [(B, EFFUSION), (B, HEART)]),
    "final report": (f"        FINAL REPORT\n {EFFUSION}", [(B, EFFUSION)]),
    "report": (f"REPORT: {EFFUSION}", [(B, EFFUSION)]),
    "narrative": (f"NARRATIVE:\n{EFFUSION}", [(B, EFFUSION)]),
    "two views": (f"CHEST, TWO VIEWS: {EFFUSION}", [(B, EFFUSION)]),
    "views and a time": (f"AP CHEST, 10:30 A.M., ___: {EFFUSION}", [(B, EFFUSION)]),
    "views alone on a line": (f"PORTABLE AP CHEST\n{EFFUSION}", [(B, EFFUSION)]),
    "title of views": (f"Chest x-ray\n{EFFUSION}", [(B, EFFUSION)]),
    "views and impression": (
        f"PA AND LATERAL VIEWS OF THE CHEST: {EFFUSION}\nIMPRESSION: {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "views and findings": (
        f"CHEST, TWO VIEWS: Taken at noon.\nFINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "description before the impression": (
        f"{EFFUSION}\nIMPRESSION: {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "title before the impression": (f"CHEST AND RIBS\nIMPRESSION: {HEART}", [(C, HEART)]),
    "paragraph after the background": (
        f"INDICATION: Cough.\n\nCOMPARISON: None.\n\n{EFFUSION}\n\n{HEART}\n",
        [(B, EFFUSION), (B, HEART)],
    ),
    "paragraph, then impression": (
        f"TECHNIQUE: PA.\n\n{EFFUSION}\n\nIMPRESSION: {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "background only": ("INDICATION: Cough.\nCOMPARISON: Large effusion in May.", []),
    "indication only": ("HISTORY/INDICATION: Known cancer.", []),
    "empty": (" \n", []),
    "empty sections": (f"FINDINGS:\nIMPRESSION: {HEART}", [(C, HEART)]),
    # what is not of the image
    "background within a line": (
        f"EXAM: Chest. HISTORY: Fever. FINDINGS: {EFFUSION} RECOMMENDATION: Repeat.",
        [(F, EFFUSION)],
    ),
    "clinical history": (f"Clinical history: Cough.\nFindings: {EFFUSION}", [(F, EFFUSION)]),
    "reason for exam": (f"Reason for exam: Cough.\nImpression: {HEART}", [(C, HEART)]),
    "clinical diagnosis": (f"CLINICAL DIAGNOSIS: Cancer.\nFINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "study description": (f"STUDY DESCRIPTION: Chest.\nFINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "notification": (
        f"IMPRESSION: {HEART}\nNOTIFICATION: Dr. T. Smith at 10:30 a.m. by phone.",
        [(C, HEART)],
    ),
    "signature": (
        f"IMPRESSION: {HEART}\nElectronically signed by: Dr. A. Roe",
        [(C, HEART)],
    ),
    "end of impression": (
        f"IMPRESSION: {HEART}\nEND OF IMPRESSION:\nACCESSION NUMBER: 12",
        [(C, HEART)],
    ),
    "wet read": (f"WET READ: Large effusion.\nFINAL REPORT\nFINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "addendum": (f"FINDINGS: {EFFUSION}\nADDENDUM: Discussed with Dr. Roe.", [(F, EFFUSION)]),
    "addendum with an impression": (
        f"FINAL ADDENDUM\n IMPRESSION: {HEART}\n FINAL REPORT\n IMPRESSION: {EFFUSION}\n",
        [(C, HEART), (C, EFFUSION)],
    ),
    "two reports": (
        f"FINAL REPORT\nFINDINGS: {EFFUSION}\nFINAL REPORT\nCHEST, AP: {HEART}\n",
        [(F, EFFUSION), (B, HEART)],
    ),
    # sentences
    "list": (
        "IMPRESSION:\n1. Effusion.\n2. No nodule.",
        [(C, "1. Effusion."), (C, "2. No nodule.")],
    ),
    "list without stops": (
        "IMPRESSION:\n1. Effusion\n2. No nodule",
        [(C, "1. Effusion"), (C, "2. No nodule")],
    ),
    "list on one line": (
        "IMPRESSION: 1. Cardiomegaly 2. Effusion. 3. A 1.\n5 cm nodule.",
        [(C, "1. Cardiomegaly 2. Effusion."), (C, "3. A 1. 5 cm nodule.")],
    ),
    "brackets": (
        "IMPRESSION:\n1) Effusion.\n2) No nodule.",
        [(C, "1) Effusion."), (C, "2) No nodule.")],
    ),
    "bullets": (
        "FINDINGS:\n- No effusion\n• Heart normal",
        [(F, "No effusion"), (F, "Heart normal")],
    ),
    "number at a line's beginning": (
        "FINDINGS: Edema of grade\n2. No nodule.",
        [(F, "Edema of grade 2."), (F, "No nodule.")],
    ),
    "organs": (
        "FINDINGS:\nLUNGS: Clear.\nHEART: Normal.\nIMPRESSION: None.",
        [(F, "LUNGS: Clear."), (F, "HEART: Normal."), (C, "None.")],
    ),
    "organs without stops": (
        "Findings:\nLungs: clear\nHeart: normal",
        [(F, "Lungs: clear"), (F, "Heart: normal")],
    ),
    "organs on one line": (
        "FINDINGS: LUNGS: Clear. HEART: Normal.",
        [(F, "LUNGS: Clear."), (F, "HEART: Normal.")],
    ),
    "organs after the background": (
        "INDICATION: Cough.\nLUNGS: Clear.\nIMPRESSION: Normal.",
        [(F, "LUNGS: Clear."), (C, "Normal.")],
    ),
    "abbreviations": (
        "FINDINGS: Atelectasis vs. Pneumonia. Read by Dr. T. Roe at St. Mary.",
        [(F, "Atelectasis vs. Pneumonia."), (F, "Read by Dr. T. Roe at St. Mary.")],
    ),
    "latin": (
        "FINDINGS: Lines, e.g. ET tube. Clear.",
        [(F, "Lines, e.g. ET tube."), (F, "Clear.")],
    ),
    "decimals": (
        "FINDINGS: A 1.5 cm nodule. None else.",
        [(F, "A 1.5 cm nodule."), (F, "None else.")],
    ),
    "measurements": (
        "FINDINGS: 3.2 x 2.1 cm mass at T8. ETT 4 cm high.",
        [(F, "3.2 x 2.1 cm mass at T8."), (F, "ETT 4 cm high.")],
    ),
    "times": (
        "FINDINGS: Seen at 10:30 a.m. Clear. At 11:15 P.M. Worse.",
        [(F, "Seen at 10:30 a.m."), (F, "Clear."), (F, "At 11:15 P.M."), (F, "Worse.")],
    ),
    "no and number": (
        "FINDINGS: Nodule No. 2 is new. Effusion? No. Clear.",
        [(F, "Nodule No. 2 is new."), (F, "Effusion?"), (F, "No."), (F, "Clear.")],
    ),
    "removed words": (
        "FINDINGS: XXXX XXXX. Compared to ___: unchanged.",
        [(F, "XXXX XXXX."), (F, "Compared to ___: unchanged.")],
    ),
    "dictation macro": (
        "FINDINGS: [Lungs are clear.] [No effusion.]\nIMPRESSION: ***",
        [(F, "[Lungs are clear.]"), (F, "[No effusion.]")],
    ),
    "wrapped": ("FINDINGS: No\n  effusion or\n  nodule.", [(F, "No effusion or nodule.")]),
    "paragraphs without stops": (
        "FINDINGS: No effusion\n\nNo nodule",
        [(F, "No effusion"), (F, "No nodule")],
    ),
    "quotes": (
        'FINDINGS: So-called "crazy paving." Clear.',
        [(F, 'So-called "crazy paving."'), (F, "Clear.")],
    ),
    # what stands above, below and between
    "letterhead": (
        f"St. Mary Hospital.\nPatient: Jane Doe.\n\nRADIOLOGY REPORT\n\nFINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "details above the report": (
        f"Clinical details: Known cancer, large effusion in May.\nREPORT:\n{EFFUSION}",
        [(B, EFFUSION)],
    ),
    "preliminary and final": (
        f"PRELIMINARY REPORT\nLarge effusion.\n\nFINAL REPORT\nFINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "title at the foot": (
        f"FINDINGS: {EFFUSION}\nIMPRESSION: {HEART}\n***FINAL REPORT***\nDr. John Roe, Hospital.",
        [(F, EFFUSION), (C, HEART)],
    ),
    "addendum without a colon": (
        f" ADDENDUM  The large mass is in the liver.\n___\n FINAL REPORT\n FINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "diagnosis before": (
        f"INDICATION: Cough\nDiagnosis: Lung cancer\nTECHNIQUE: PA\nFINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "laboratory results": (
        f"INDICATION: Cough\nResults: WBC 12\nFINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "diagnosis after": (f"FINDINGS: {EFFUSION}\nDIAGNOSIS: {HEART}", [(F, EFFUSION), (C, HEART)]),
    "summary code": (
        f"FINDINGS: {EFFUSION}\nIMPRESSION: {HEART}\nSUMMARY:2-ABNORMAL, PREVIOUSLY REPORTED",
        [(F, EFFUSION), (C, HEART)],
    ),
    "impression of another examination": (
        f"COMPARISON: CT of May. CT IMPRESSION: Liver mass.\nFINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "history without a heading": (
        f"CLINICAL HISTORY: 55 years.\n\nKnown cancer with large effusion.\n\nIMPRESSION: {HEART}",
        [(C, HEART)],
    ),
    "recommendation for the chest": (
        f"FINDINGS: {EFFUSION}\nRECOMMENDATION: CT.\nCHEST: X-ray in 6 weeks.",
        [(F, EFFUSION)],
    ),
    "reported by": (
        f"Report: {EFFUSION}\nConclusion: {HEART}\nReported by: Dr A Roe, Consultant",
        [(F, EFFUSION), (C, HEART)],
    ),
    "signed without a colon": (
        f"IMPRESSION: {HEART}\nElectronically signed by Dr. John Roe 1/1/2020",
        [(C, HEART)],
    ),
    "who was called": (
        f"IMPRESSION: {HEART}\nDiscussed with Dr. Roe at 10:30 a.m. by telephone.",
        [(C, HEART)],
    ),
    "reviewed": (
        f"FINDINGS: {EFFUSION}\nI have personally reviewed the images for this examination.",
        [(F, EFFUSION)],
    ),
    # words within a description
    "tubes": (
        "FINDINGS:\nET TUBE: High.\nPICC: In the SVC.\nPNEUMOTHORAX: Small.\nOTHER: Clips.",
        [
            (F, "ET TUBE: High."),
            (F, "PICC: In the SVC."),
            (F, "PNEUMOTHORAX: Small."),
            (F, "OTHER: Clips."),
        ],
    ),
    "unknown words": (
        "IMPRESSION:\nNEW: Right pneumothorax.\nUNCHANGED: Effusion.",
        [(C, "NEW: Right pneumothorax."), (C, "UNCHANGED: Effusion.")],
    ),
    "only a list": (
        "CONSOLIDATION: Absent.\nPLEURAL EFFUSION: Present, left.",
        [(B, "CONSOLIDATION: Absent."), (B, "PLEURAL EFFUSION: Present, left.")],
    ),
    "views, on a date": (f"PORTABLE CHEST ON ___ AT 05:10 HOURS: {EFFUSION}", [(B, EFFUSION)]),
    "views, many": (
        f"FOUR VIEWS OF THE CHEST, INSPIRATORY AND EXPIRATORY: {EFFUSION}",
        [(B, EFFUSION)],
    ),
    "views, title case": (f"Chest x-ray: {EFFUSION}", [(B, EFFUSION)]),
    "examination of views": (f"XR CHEST (2 VIEWS): {EFFUSION}", [(B, EFFUSION)]),
    "indication, then a paragraph": (
        f"Clinical indication: SOB\n\n{EFFUSION}\n\nReported by Dr Jones 12/03/2020 14:22",
        [(B, EFFUSION)],
    ),
    "report within a line": (f"INDICATION: Cough. REPORT: {EFFUSION}", [(B, EFFUSION)]),
    "comment alone": (f"History: Weight loss\nCOMMENT: {EFFUSION}", [(B, EFFUSION)]),
    "comment after findings": (
        f"FINDINGS\n{EFFUSION}\n\nCOMMENT\n{HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "comment and impression": (
        f"FINDINGS: {EFFUSION}\nIMPRESSION: {HEART}\nCOMMENT: Repeat in May.",
        [(F, EFFUSION), (C, HEART)],
    ),
    "a dash in title case": (
        f"Clinical details - Known cancer.\nFindings - {EFFUSION}\nImpression - {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "two blanks": (
        f"Comparison: None.  Findings: {EFFUSION}  Impression: {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "flattened": (
        f"Comparison: None Indication: Cough Findings: {EFFUSION} Impression: {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    "lower case without stops": (
        "indication: pain\nfindings: heart normal\nimpression: normal",
        [(F, "heart normal"), (C, "normal")],
    ),
    "views below an indication": (
        f"INDICATION: COUGH\nPORTABLE AP CHEST\n{EFFUSION}",
        [(B, EFFUSION)],
    ),
    "title of views with a time": (
        f"FINAL REPORT\n AP CHEST, 6:02 A.M. ___\n\n HISTORY: Fever.\n IMPRESSION: {HEART}",
        [(C, HEART)],
    ),
    "preliminary sections": (
        f"PRELIMINARY REPORT\nFINDINGS: Large effusion.\n\nFINAL REPORT\nFINDINGS: {EFFUSION}",
        [(F, EFFUSION)],
    ),
    "past history": (f"PMH: Cancer.\nFINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "plan": (f"IMPRESSION: {HEART}\nPlan: Drain.\nFollow-up: CT in May.", [(C, HEART)]),
    "critical findings": (f"CRITICAL FINDINGS: {EFFUSION}", [(F, EFFUSION)]),
    "a signature without stops": (
        "IMPRESSION:\nNo pneumothorax\nSmall left effusion\nJohn Roe MD",
        [(C, "No pneumothorax Small left effusion")],
    ),
    "a finding that was called": (
        "IMPRESSION: Right pneumothorax was discussed with Dr. Roe by telephone at 10 a.m.",
        [(C, "Right pneumothorax was discussed with Dr. Roe by telephone at 10 a.m.")],
    ),
    "what sounds like a call": (
        "FINDINGS: Nodule reported previously on the 5 am film. Opacity was called a shadow.",
        [(F, "Nodule reported previously on the 5 am film."), (F, "Opacity was called a shadow.")],
    ),
    "entered": (
        f"IMPRESSION: {HEART} Findings were entered into the dashboard at 9:00 a.m.",
        [(C, HEART)],
    ),
    "boilerplate": (
        f"IMPRESSION: {HEART}\nJane Doe, MD, PhD\nThis was made with voice recognition.",
        [(C, HEART)],
    ),
    "short for impression": (f"FINDINGS: {EFFUSION}\nIMP: {HEART}", [(F, EFFUSION), (C, HEART)]),
    "in brackets": (
        f"FINDINGS (CHEST): {EFFUSION}\nIMPRESSION (SUMMARY): {HEART}",
        [(F, EFFUSION), (C, HEART)],
    ),
    # words of headings within sentences
    "wrapped before a heading's word": (
        "FINDINGS: No change since the prior\nexamination: stable effusion. Heart normal.",
        [(F, "No change since the prior examination: stable effusion."), (F, "Heart normal.")],
    ),
    "wrapped in capitals": (
        "IMPRESSION: STABLE SINCE PRIOR\nSTUDY. NO ACUTE\nFINDINGS. NO NODULE.",
        [(C, "STABLE SINCE PRIOR STUDY."), (C, "NO ACUTE FINDINGS."), (C, "NO NODULE.")],
    ),
    "wrapped views": (
        "FINDINGS: Opacity best seen on the\nLATERAL VIEW\nwhich is new.",
        [(F, "Opacity best seen on the LATERAL VIEW which is new.")],
    ),
    "prior exam in capitals": (
        "FINDINGS: No change since the prior EXAM: stable.",
        [(F, "No change since the prior EXAM: stable.")],
    ),
    "sentences of headings' words": (
        "FINDINGS: Findings are stable. Impression is unchanged. Comparison is made to May: none.",
        [
            (F, "Findings are stable."),
            (F, "Impression is unchanged."),
            (F, "Comparison is made to May: none."),
        ],
    ),
    "blanks that do not break": (
        "FINAL\xa0REPORT\nCLINICAL\xa0HISTORY: Cough.\nFINDINGS\xa0: Small\xa0effusion.",
        [(F, "Small effusion.")],
    ),
    "year before a list's number": (
        "IMPRESSION: 2. Stable since 1/1/2020. 3. No nodule.",
        [(C, "2. Stable since 1/1/2020."), (C, "3. No nodule.")],
    ),
    "numbers without a blank": (
        "IMPRESSION:\n1.Effusion\n2.Nodule",
        [(C, "1.Effusion"), (C, "2.Nodule")],
    ),
    "sides": ("FINDINGS: Rt. Effusion. Lt. Clear.", [(F, "Rt. Effusion."), (F, "Lt. Clear.")]),
}

MIMIC_SECTIONS = {
    "findings": ("FINDINGS", "FINDING", "FINSINGS", "FINDNGS"),
    "impression": (
        "IMPRESSION",
        "IMPRESSIONS",
        "IMPRESSON",
        "CONCLUSION",
        "CONCLUSIONS",
        "SUMMARY",
    ),
    "both": (
        *("FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION", "REPORT", "CHEST, TWO VIEWS"),
        *("PA AND LATERAL VIEWS OF THE CHEST", "PORTABLE CHEST", "FRONTAL CHEST RADIOGRAPH"),
        *("PORTABLE AP CHEST RADIOGRAPH", "AP CHEST, 8:19 A.M", "CHEST, PA AND LATERAL"),
        *("SINGLE PORTABLE VIEW OF THE CHEST", "UPRIGHT AP AND LATERAL VIEWS OF THE CHEST"),
        *("TWO VIEWS OF THE CHEST", "SUPINE AP VIEW OF THE CHEST", "CHEST RADIOGRAPH", "COMMENT"),
    ),
    "other": (
        *("INDICATION", "INDICATIONS", "HISTORY", "CLINICAL HISTORY", "PATIENT HISTORY"),
        *("CLINICAL INFORMATION", "CLINICAL INDICATION", "REASON FOR EXAM", "EXAM", "EXAMINATION"),
        *("REASON FOR EXAMINATION", "TYPE OF EXAMINATION", "TECHNIQUE", "COMPARISON"),
        *("COMPARISONS", "COMPARISON EXAM", "COMPARISON FILM", "REFERENCE EXAM", "STUDY", "DATE"),
        *("RECOMMENDATION", "RECOMMENDATIONS", "NOTIFICATION", "ADDENDUM", "WET READ"),
    ),
}
"""Section names that are published of MIMIC-CXR's reports, by the kind they should have."""


def by_kind(pairs):
    """Kind → its sentences in reading order, without the full stop that training adds."""
    return {
        kind: [text.removesuffix(".") for k, text in pairs if k == kind]
        for kind in ("both", "findings", "impression")
    }


def cited(report):
    """The passages that the service may cite of a stored report."""
    passages = citable(split_report(report, "stu_1"))
    return [(kind_of(passage.section), passage.text) for passage in passages]


def trained_on(report):
    """The sentences of the text that training reads, which has no other."""
    parts = sections(description(report))
    assert all(part.kind != "other" for part in parts if part.body)
    return [(part.kind, text) for part in parts for text in sentences(part.body)]


@pytest.mark.parametrize(("report", "expected"), STYLES.values(), ids=list(STYLES))
def test_the_service_cites_what_training_reads(report, expected):
    assert cited(report) == expected
    assert by_kind(trained_on(report)) == by_kind(expected)


@pytest.mark.parametrize(
    ("heading", "kind"), [(name, kind) for kind, names in MIMIC_SECTIONS.items() for name in names]
)
def test_published_section_names_have_their_kind(heading, kind):
    (section,) = [part for part in sections(f"{heading}: {EFFUSION}\n") if part.body]
    assert (section.kind, section.body) == (kind, f" {EFFUSION}\n")


@given(st.text(alphabet="aB1 .:\n*-/FINDGS", max_size=200) | st.text())
def test_headings_and_bodies_joined_are_the_report_to_the_letter(report):
    assert "".join(part.heading + part.body for part in sections(report)) == report


@given(st.lists(st.sampled_from(sorted(STYLES)), max_size=3))
def test_no_word_of_a_body_is_lost(styles):
    for part in sections("\n\n".join(STYLES[style][0] for style in styles)):
        split = " ".join(sentences(part.body))
        assert re.findall(r"[^\W_]+", split) == re.findall(r"[^\W_]+", part.body)


@given(st.sampled_from(sorted(STYLES)))
def test_what_training_reads_is_read_the_same_once_more(style):
    once = description(STYLES[style][0])
    assert description(once) == once


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit",
    [
        "A. ",
        "1. ",
        "Ab. ",
        "AB /",
        "A:\n",
        "vs. A",
        ". A",
        "FINAL REPORT\n",
        "RESULTS:\n",
        "LUNGS: a.\n",
        "PA VIEW\n",
        "PA VIEW a\n",
        "called ",
        "CHEST, ",
        "1.\n",
        "[*",
    ],
)
def test_a_hostile_report_ends_in_time(unit):
    """Ends at once where the time is linear; where it grows with the square, not in an hour."""
    report = unit * 100_000
    assert all(text for _, text in described(report))


@pytest.mark.slow
def test_real_reports_are_read_alike(shared_data):
    with (shared_data / "open_i" / "reports.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lengths, other_sections, differing = [], 0, 0
    for row in rows:
        text = titled(row["findings"], row["impression"])
        whole = f"INDICATION: {row['indication']}\nCOMPARISON: {row['comparison']}\n{text}"
        passages = split_report(whole, "stu_1")
        named = {passage.section for passage in passages}
        other_sections += len(named - {"findings", "impression", "indication", "comparison"})
        described = [p for p in passages if kind_of(p.section) != "other"]
        said = [(kind_of(p.section), p.text) for p in described if not is_administrative(p.text)]
        differing += by_kind(trained_on(whole)) != by_kind(said)
        lengths += [len(text) for _, text in said]
    assert (other_sections, differing) < (10, 1)
    assert len(lengths) > 12_900
    assert sorted(lengths)[len(lengths) // 2] < 80
    assert sorted(lengths)[int(len(lengths) * 0.999)] < 500
